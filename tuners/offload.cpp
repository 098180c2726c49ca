#include "tuners/offload.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/StringUtil.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace tunefleet::tuners {
namespace {

/// A file without a name that lives as long as its descriptor.
class TemporaryFile {
 public:
  TemporaryFile() {
    const char* directory = std::getenv("TMPDIR");
    std::string path = c10::str(directory == nullptr ? "/tmp" : directory, "/tunefleet-XXXXXX");
    fd_ = mkstemp(path.data());
    error_ = errno;
    if (fd_ >= 0) unlink(path.c_str());
  }
  ~TemporaryFile() {
    if (fd_ >= 0) close(fd_);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  Status append(const void* data, size_t bytes) {
    const auto* from = static_cast<const char*>(data);
    while (fd_ >= 0 && bytes > 0) {
      const ssize_t written = write(fd_, from, bytes);
      if (written < 0) error_ = errno;
      if (written <= 0) return failure();
      from += written;
      bytes -= static_cast<size_t>(written);
    }
    return fd_ < 0 ? failure() : Status{};
  }
  int fd() const { return fd_; }

 private:
  Status failure() const {
    const auto code =
        error_ == ENOSPC ? ErrorCode::kResourceExhausted : ErrorCode::kPermissionDenied;
    return fail(code,
                c10::str("cannot off-load into a temporary file, TMPDIR names its directory: ",
                         std::strerror(error_)));
  }
  int fd_ = -1;
  int error_ = 0;
};

/// The tensor's values in a file of their own, mapped: pages are read again when somebody looks.
Result<at::Tensor> in_a_file(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().cpu().contiguous();
  const size_t bytes = values.nbytes();
  if (bytes == 0) return values;
  TemporaryFile file;
  if (auto status = file.append(values.const_data_ptr(), bytes); !status)
    return fail(status.error());
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
  if (memory == MAP_FAILED) {
    return fail(ErrorCode::kResourceExhausted,
                c10::str("cannot map a temporary file: ", std::strerror(errno)));
  }
  msync(memory, bytes, MS_SYNC);
  madvise(memory, bytes, MADV_DONTNEED);
  const auto unmap = [bytes](void* at) { munmap(at, bytes); };
  return at::from_blob(memory, values.sizes(), unmap, values.options());
}

void set_values(at::Tensor& tensor, const at::Tensor& values) {
  const at::NoGradGuard no_grad;
  tensor.set_data(values);
}

}  // namespace

Result<Offload> offload_from_text(std::string_view text) {
  if (text.empty() || text == "none") return Offload::kNone;
  if (text == "cpu") return Offload::kCpu;
  if (text == "meta") return Offload::kMeta;
  return fail(ErrorCode::kInvalidArgument,
              c10::str("offload takes none, cpu, meta: ", std::string(text)));
}

Result<OffloadedTensors> OffloadedTensors::move_out(const Adapter& adapter, Offload offload) {
  OffloadedTensors out;
  if (offload == Offload::kNone) return out;
  std::vector<at::Tensor> moved;
  for (const auto& entry : adapter.tensors()) {
    if (offload == Offload::kCpu) {
      if (entry.tensor.is_cpu()) continue;
      moved.push_back(entry.tensor.detach().cpu());
    } else {
      auto values = in_a_file(entry.tensor);
      if (!values) return fail(c10::str("adapter ", adapter.name()), values.error());
      moved.push_back(*std::move(values));
    }
    out.tensors_.emplace_back(entry.tensor, entry.tensor.device());
  }
  for (size_t i = 0; i < moved.size(); ++i) set_values(out.tensors_[i].first, moved[i]);
  return out;
}

void OffloadedTensors::move_back() {
  for (auto& [tensor, device] : tensors_) {
    if (tensor.is_cpu() && device.is_cpu()) {
      set_values(tensor, tensor.detach().clone());
    } else {
      set_values(tensor, tensor.detach().to(device));
    }
  }
  tensors_.clear();
}

}  // namespace tunefleet::tuners

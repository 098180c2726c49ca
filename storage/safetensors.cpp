#include "storage/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "storage/safetensors_header.h"

namespace tunefleet::storage {

static_assert(std::endian::native == std::endian::little,
              "the format's bytes are used as they are");

namespace {

constexpr uint64_t kSizeFieldBytes = 8;

/// Splits the header's text off a mapped file.
Result<std::string_view> header_text(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.size() < kSizeFieldBytes) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("safetensors file is too short for its header size: {} < 8 bytes, {}",
                            bytes.size(), file.path().string()));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > SafetensorsFile::kMaxHeaderBytes) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("safetensors header is too large: {} > {} bytes, {}", header_bytes,
                            SafetensorsFile::kMaxHeaderBytes, file.path().string()));
  }
  if (header_bytes > bytes.size() - kSizeFieldBytes) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("safetensors header ends past the file: {} > {} bytes, {}",
                            header_bytes, bytes.size() - kSizeFieldBytes, file.path().string()));
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + kSizeFieldBytes,
                          header_bytes);
}

/// Checks one tensor, the next in the order of offsets, against the data it should begin at.
Status check_tensor(const HeaderTensor& tensor, uint64_t expected_begin, uint64_t data_bytes,
                    std::string_view file) {
  const auto bytes = tensor_bytes(tensor.spec);
  if (!bytes) return fail(ErrorCode::kDataLoss, fmt::format("{}, {}", bytes.error().message, file));
  if (tensor.end < tensor.begin || tensor.end - tensor.begin != *bytes) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("tensor's offsets do not fit its dtype and shape: {}, [{}, {}) for {} "
                            "bytes, {}",
                            tensor.spec.name, tensor.begin, tensor.end, *bytes, file));
  }
  if (tensor.begin != expected_begin) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("tensor does not begin where the one before it ends: {}, {} != {}, {}",
                            tensor.spec.name, tensor.begin, expected_begin, file));
  }
  if (tensor.end > data_bytes) {
    return fail(ErrorCode::kDataLoss, fmt::format("tensor ends past the file: {}, {} > {}, {}",
                                                  tensor.spec.name, tensor.end, data_bytes, file));
  }
  return {};
}

void sort_by_offset(std::vector<HeaderTensor>& tensors) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
}

}  // namespace

Result<uint64_t> tensor_bytes(const TensorSpec& spec) {
  uint64_t bytes = dtype_size(spec.dtype);
  bool fits = true;
  for (const int64_t dimension : spec.shape) {
    fits = fits && dimension >= 0 &&
           !__builtin_mul_overflow(bytes, static_cast<uint64_t>(dimension), &bytes) &&
           bytes <= static_cast<uint64_t>(INT64_MAX);
  }
  if (fits) return bytes;
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("tensor's shape is negative or too large: {}, [{}]", spec.name,
                          fmt::join(spec.shape, ", ")));
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return fail(mapped.error());
  SafetensorsFile file;
  file.file_ = std::move(*mapped);
  const auto text = header_text(file.file_);
  if (!text) return fail(text.error());
  auto header = parse_safetensors_header(*text, path.string());
  if (!header) return fail(header.error());

  const auto data = file.file_.bytes().subspan(kSizeFieldBytes + text->size());
  sort_by_offset(header->tensors);
  file.tensors_.reserve(header->tensors.size());
  uint64_t end = 0;
  for (HeaderTensor& tensor : header->tensors) {
    if (Status ok = check_tensor(tensor, end, data.size(), path.string()); !ok)
      return fail(ok.error());
    end = tensor.end;
    file.index_.emplace(tensor.spec.name, file.tensors_.size());
    file.tensors_.push_back(
        {std::move(tensor.spec), data.data() + tensor.begin, tensor.end - tensor.begin});
  }
  if (end != data.size()) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("safetensors file has bytes that belong to no tensor: {} of {}, {}",
                            data.size() - end, data.size(), path.string()));
  }
  file.metadata_ = std::move(header->metadata);
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path,
                                                    std::vector<TensorSpec> tensors,
                                                    const SafetensorsMetadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
    return std::tie(a.dtype, a.name) < std::tie(b.dtype, b.name);
  });
  std::unordered_set<std::string_view> names{"__metadata__"};
  uint64_t data_bytes = 0;
  for (const TensorSpec& spec : tensors) {
    if (!names.insert(spec.name).second) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("tensor name is used twice or reserved: {}, {}", spec.name, path.string()));
    }
    const auto bytes = tensor_bytes(spec);
    if (!bytes) return fail(bytes.error());
    data_bytes += *bytes;
  }
  const auto header = make_safetensors_header(tensors, metadata);
  if (!header) return fail(header.error());
  auto file = AtomicFile::create(path);
  if (!file) return fail(file.error());
  const uint64_t header_bytes = header->size();
  const std::string_view size_field(reinterpret_cast<const char*>(&header_bytes), kSizeFieldBytes);
  if (Status ok = file->write(std::string(size_field) + *header); !ok) return fail(ok.error());
  return SafetensorsWriter(std::move(*file), std::move(tensors), data_bytes);
}

Status SafetensorsWriter::append(std::span<const std::byte> bytes) {
  if (bytes.size() > missing_bytes_) {
    return fail(ErrorCode::kInternal,
                fmt::format("more tensor bytes than the header promises: {} > {}", bytes.size(),
                            missing_bytes_));
  }
  missing_bytes_ -= bytes.size();
  return file_.write(bytes);
}

Status SafetensorsWriter::finish() {
  if (missing_bytes_ != 0) {
    return fail(
        ErrorCode::kInternal,
        fmt::format("fewer tensor bytes than the header promises: {} are missing", missing_bytes_));
  }
  return file_.commit();
}

Status write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                         const SafetensorsMetadata& metadata) {
  std::unordered_map<std::string_view, const TensorView*> views;
  for (const TensorView& view : tensors) {
    const auto bytes = tensor_bytes(view);
    if (!bytes) return fail(bytes.error());
    if (*bytes != view.bytes) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("tensor's size does not fit its dtype and shape: {}, {} != {} bytes",
                              view.name, view.bytes, *bytes));
    }
    views.emplace(view.name, &view);
  }
  auto writer = SafetensorsWriter::create(
      path, std::vector<TensorSpec>(tensors.begin(), tensors.end()), metadata);
  if (!writer) return fail(writer.error());
  for (const TensorSpec& spec : writer->order()) {
    const TensorView& view = *views.at(spec.name);
    if (Status ok = writer->append({view.data, view.bytes}); !ok) return ok;
  }
  return writer->finish();
}

}  // namespace tunefleet::storage

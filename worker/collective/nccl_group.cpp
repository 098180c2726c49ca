#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>

#include "worker/collective/cuda_plugin.h"
#include "worker/collective/group.h"

namespace tunefleet::collective {
namespace {

void check(ncclResult_t code, const char* what) {
  TORCH_CHECK(code == ncclSuccess || code == ncclInProgress, what,
              " failed: ", ncclGetErrorString(code));
}

struct CommDeleter {
  void operator()(ncclComm_t comm) const { ncclCommAbort(comm); }
};
using Comm = std::unique_ptr<std::remove_pointer_t<ncclComm_t>, CommDeleter>;

/// Small values go by `hosts` (MPI), tensors by NCCL on torch's current stream. The communicator is
/// non-blocking, so that every wait can end: with a timeout, or with the error of a peer.
class NcclGroup : public Group {
 public:
  NcclGroup(std::unique_ptr<Group> hosts, std::chrono::seconds timeout)
      : hosts_(std::move(hosts)), timeout_(timeout) {
    c10::cuda::set_device(
        static_cast<c10::DeviceIndex>(hosts_->local_rank() % c10::cuda::device_count()));
    const auto id = shared_id();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    check(ncclCommInitRankConfig(&comm, hosts_->size(), id, hosts_->rank(), &config),
          "ncclCommInitRankConfig");
    comm_.reset(comm);
    settle("NCCL start");
  }

  int rank() const override { return hosts_->rank(); }
  int size() const override { return hosts_->size(); }
  int local_rank() const override { return hosts_->local_rank(); }
  int local_size() const override { return hosts_->local_size(); }
  std::string backend() const override { return "nccl"; }

  void all_reduce_sum(at::Tensor& flat) override {
    TORCH_CHECK(flat.is_cuda() && flat.is_contiguous(),
                "the NCCL group reduces contiguous tensors on a GPU");
    const auto type = flat.scalar_type() == at::kFloat ? ncclFloat32 : ncclBfloat16;
    TORCH_CHECK(type == ncclFloat32 || flat.scalar_type() == at::kBFloat16, "NCCL group: dtype ",
                flat.scalar_type());
    const auto stream = c10::cuda::getCurrentCUDAStream();
    check(ncclAllReduce(flat.const_data_ptr(), flat.mutable_data_ptr(),
                        static_cast<size_t>(flat.numel()), type, ncclSum, comm_.get(), stream),
          "all-reduce");
    settle("all-reduce");
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    while (!stream.query()) {
      ncclResult_t state = ncclSuccess;
      ncclCommGetAsyncError(comm_.get(), &state);
      check(state, "all-reduce");
      TORCH_CHECK(std::chrono::steady_clock::now() < deadline, "all-reduce took longer than ",
                  timeout_.count(), " s");
      std::this_thread::yield();
    }
  }

  void broadcast(std::vector<double>& values) override { hosts_->broadcast(values); }
  std::vector<double> sum_to_root(const std::vector<double>& values) override {
    return hosts_->sum_to_root(values);
  }
  std::vector<uint64_t> all_gather(uint64_t value) override { return hosts_->all_gather(value); }
  void barrier() override { hosts_->barrier(); }
  void abort(int exit_code) override { hosts_->abort(exit_code); }

 private:
  /// Rank 0's id, carried eight bytes at a time by what `hosts` can gather.
  ncclUniqueId shared_id() {
    ncclUniqueId id{};
    if (rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    for (size_t at = 0; at < sizeof(id.internal); at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, id.internal + at, sizeof(word));
      word = hosts_->all_gather(word).front();
      std::memcpy(id.internal + at, &word, sizeof(word));
    }
    return id;
  }

  /// Waits until the communicator has taken the last call in.
  void settle(const char* what) {
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    ncclResult_t state = ncclInProgress;
    while (state == ncclInProgress) {
      check(ncclCommGetAsyncError(comm_.get(), &state), what);
      TORCH_CHECK(std::chrono::steady_clock::now() < deadline, what, " took longer than ",
                  timeout_.count(), " s");
      if (state == ncclInProgress) std::this_thread::yield();
    }
    check(state, what);
  }

  std::unique_ptr<Group> hosts_;
  std::chrono::seconds timeout_;
  Comm comm_;
};

int visible_devices() { return static_cast<int>(c10::cuda::device_count()); }

Group* make_group_for_plugin(Group* hosts, long timeout_s) {
  return make_nccl_group(std::unique_ptr<Group>(hosts), std::chrono::seconds(timeout_s)).release();
}

}  // namespace

std::unique_ptr<Group> make_nccl_group(std::unique_ptr<Group> hosts, std::chrono::seconds timeout) {
  return std::make_unique<NcclGroup>(std::move(hosts), timeout);
}

}  // namespace tunefleet::collective

extern "C" {
extern const tunefleet::collective::CudaPlugin tunefleet_cuda_plugin;
const tunefleet::collective::CudaPlugin tunefleet_cuda_plugin{
    1, &tunefleet::collective::visible_devices, &tunefleet::collective::make_group_for_plugin};
}

#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "worker/collective/group.h"

namespace tunefleet::collective {
namespace {

void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  TORCH_CHECK(false, what, " failed: ", text);
}

/// MPI's lifetime: it can be initialised once in a process.
class MpiSession {
 public:
  MpiSession() {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  ~MpiSession() { MPI_Finalize(); }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
};

class MpiGroup : public Group {
 public:
  explicit MpiGroup(std::chrono::seconds timeout) : timeout_(timeout) {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm host = MPI_COMM_NULL;
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host),
          "MPI_Comm_split_type");
    MPI_Comm_rank(host, &local_rank_);
    MPI_Comm_size(host, &local_size_);
    MPI_Comm_free(&host);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  std::string backend() const override { return "mpi"; }

  void all_reduce_sum(at::Tensor& flat) override {
    TORCH_CHECK(flat.is_cpu() && flat.is_contiguous(),
                "the MPI group reduces contiguous tensors in main memory");
    for (int64_t from = 0; from < flat.numel(); from += kPiece) {
      auto piece = flat.narrow(0, from, std::min(kPiece, flat.numel() - from));
      // MPI knows no bfloat16: such a buffer travels, and is summed, as float32.
      auto wide = piece.to(at::kFloat);
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Iallreduce(MPI_IN_PLACE, wide.mutable_data_ptr<float>(),
                           static_cast<int>(wide.numel()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD,
                           &request),
            "all-reduce");
      wait(request, "all-reduce");
      if (!wide.is_same(piece)) piece.copy_(wide);
    }
  }

  void broadcast(std::vector<double>& values) override {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibcast(values.data(), static_cast<int>(values.size()), MPI_DOUBLE, 0, MPI_COMM_WORLD,
                     &request),
          "broadcast");
    wait(request, "broadcast");
  }

  std::vector<double> sum_to_root(const std::vector<double>& values) override {
    std::vector<double> sums(values.size());
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ireduce(values.data(), sums.data(), static_cast<int>(values.size()), MPI_DOUBLE,
                      MPI_SUM, 0, MPI_COMM_WORLD, &request),
          "reduce");
    wait(request, "reduce");
    return sums;
  }

  std::vector<uint64_t> all_gather(uint64_t value) override {
    std::vector<uint64_t> values(static_cast<size_t>(size_));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Iallgather(&value, 1, MPI_UINT64_T, values.data(), 1, MPI_UINT64_T, MPI_COMM_WORLD,
                         &request),
          "all-gather");
    wait(request, "all-gather");
    return values;
  }

  void barrier() override {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibarrier(MPI_COMM_WORLD, &request), "barrier");
    wait(request, "barrier");
  }

  void abort(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  /// Numbers of one call: few enough for MPI's counts, and for a float32 copy beside a model.
  static constexpr int64_t kPiece = int64_t{1} << 24;

  /// Waits by turns of testing and yielding: a rank that waits leaves its core to the one it waits
  /// for.
  void wait(MPI_Request& request, const char* what) const {
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    for (int64_t turn = 0;; ++turn) {
      int done = 0;
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
      if (done != 0) return;
      if (turn < 64) continue;
      std::this_thread::yield();
      if (turn % 1024 == 0) {
        TORCH_CHECK(std::chrono::steady_clock::now() < deadline, what, " took longer than ",
                    timeout_.count(), " s: rank ", rank_, " of ", size_, " waits for the others");
      }
    }
  }

  MpiSession session_;
  std::chrono::seconds timeout_;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
};

}  // namespace

std::unique_ptr<Group> make_mpi_group(std::chrono::seconds timeout) {
  return std::make_unique<MpiGroup>(timeout);
}

}  // namespace tunefleet::collective

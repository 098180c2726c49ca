#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tunefleet::collective {

/// The ranks of one run. Every call is made by all ranks in the same order, from one thread. Errors
/// (a peer is gone, the wait took longer than the group's timeout) are thrown as c10::Error naming
/// the call.
class Group {
 public:
  virtual ~Group() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Among the ranks on this host.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;
  /// "solo", "mpi" or "nccl".
  virtual std::string backend() const = 0;

  /// Replaces `flat` (contiguous, one dimension) by its sum over ranks. All ranks get the same
  /// bits.
  virtual void all_reduce_sum(at::Tensor& flat) = 0;
  /// Replaces `values` by rank 0's; same size everywhere.
  virtual void broadcast(std::vector<double>& values) = 0;
  /// The sums over ranks on rank 0, an unspecified value elsewhere.
  virtual std::vector<double> sum_to_root(const std::vector<double>& values) = 0;
  /// Everybody's value, by rank, on all ranks.
  virtual std::vector<uint64_t> all_gather(uint64_t value) = 0;
  virtual void barrier() = 0;
  /// Ends all ranks with that exit code, now. For a rank whose run has failed: the others would
  /// wait for it.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

struct GroupOptions {
  bool cuda = false;  ///< Tensors are on GPUs: NCCL carries them.
  std::chrono::seconds timeout{1800};
};

/// The group this process was started into: by mpirun or srun, else alone. Initialises MPI when it
/// was; MPI is finalised with the group. Throws c10::Error when `cuda` is asked for and no GPU or
/// no NCCL is there.
std::unique_ptr<Group> make_group(const GroupOptions& options);

/// Whether this process was started as one of several ranks (by Open MPI, PMIx or Slurm).
bool started_by_mpi();

/// A group of one.
std::unique_ptr<Group> make_solo_group();
/// Open MPI's ranks, tensors in main memory.
std::unique_ptr<Group> make_mpi_group(std::chrono::seconds timeout);
/// `hosts` carries small values and starts NCCL, whose ring carries tensors. From the CUDA plug-in
/// (cuda_plugin.h).
std::unique_ptr<Group> make_nccl_group(std::unique_ptr<Group> hosts, std::chrono::seconds timeout);

}  // namespace tunefleet::collective

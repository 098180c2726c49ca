#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "proto/result.h"
#include "tuners/bypass.h"
#include "tuners/config/res_tuning_options.h"
#include "tuners/pass_adapter.h"

namespace tunefleet::tuners {

/// What passed the probed modules in a thread's latest forward pass: the root's tensor, then each
/// stem's.
class BypassProbes {
 public:
  explicit BypassProbes(size_t count) : count_(count) {}
  /// Keeps `x`, cut off from the graph: the bypass sends no gradient back into the network.
  void put(size_t index, const at::Tensor& x);
  /// All of them. A thread that has none (one of backward's, which runs a gradient checkpoint
  /// again) gets those of the latest pass of any thread. Throws std::logic_error when one of the
  /// modules has not run yet.
  std::vector<at::Tensor> get();

 private:
  using Pass = std::vector<at::Tensor>;

  const size_t count_;
  std::mutex mutex_;
  std::map<std::thread::id, Pass> passes_;
  std::thread::id latest_;
};

/// The bypass of Res-Tuning: x_0 from the root, then a block for each stem.
/// Source: Jiang et al. 2023, arXiv:2310.19859, eq. 6 (Res-Tuning-Bypass).
class Bypass {
 public:
  Bypass(const std::vector<BypassBlockPlan>& plan, const TunerPlace& place);
  /// probes: the root's tensor, then each stem's.
  at::Tensor forward(const std::vector<at::Tensor>& probes) const;
  std::vector<LayerTensor> tensors() const;

 private:
  std::vector<BypassBlock> blocks_;
};

/// ms-swift's ResTuning: probes at the root and the stems of a network, and its bypass's result in
/// the place of the input or output of the targets.
class ResTuningAdapter : public PassAdapter {
 public:
  /// kInvalidArgument: no such places, blocks that cannot be made for these stems.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);
  std::vector<AdapterTensor> tensors() const override;

 private:
  using PassAdapter::PassAdapter;
  struct Places;
  static Result<Places> find_places(const PassSites& sites, const ResTuningOptions& options);
  void attach_parts(const Places& places, const ResTuningOptions& options);

  std::unique_ptr<Bypass> bypass_;
  std::unique_ptr<BypassProbes> probes_;
};

}  // namespace tunefleet::tuners

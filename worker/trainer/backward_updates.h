#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "tuners/trainable_set.h"
#include "worker/collective/group.h"
#include "worker/trainer/optimizer.h"

namespace tunefleet::trainer {

/// Updates each tensor within the backward pass, as soon as its gradient is complete, and frees the
/// gradient: no more than a few gradients exist at a time. With several ranks each gradient is
/// summed by itself, in the order in which backward reaches the tensors, which is the same on all
/// ranks as long as all run the same layers. One backward pass is one step: nothing can be
/// accumulated, and no norm is known before the updates, so nothing is clipped.
/// Source: Lv et al. 2023, LOMO, arXiv:2306.09782, §3.1.
class BackwardUpdates {
 public:
  /// Checks that all ranks hold the same set and hooks its tensors. Everything outlives it.
  BackwardUpdates(const tuners::TrainableSet& set, collective::Group& group, Optimizer& optimizer);
  /// Takes the hooks off.
  ~BackwardUpdates();
  BackwardUpdates(const BackwardUpdates&) = delete;
  BackwardUpdates& operator=(const BackwardUpdates&) = delete;

  /// Before the backward pass of a step.
  void begin(double learning_rate);
  /// After it: the norm of all gradients together. Not finite when a gradient was not; from that
  /// one on nothing has been updated. Throws c10::Error naming a tensor that got no gradient.
  double end();

  int64_t bytes() const { return bytes_; }  ///< What the last step sent in, per rank.

 private:
  class Hook;
  void update(const std::string& path, const at::Tensor& tensor);

  const tuners::TrainableSet set_;
  collective::Group& group_;
  Optimizer& optimizer_;
  std::map<std::string, bool> updated_;  ///< By path, in this step.
  double learning_rate_ = 0.0;
  double squares_ = 0.0;
  int64_t bytes_ = 0;
};

}  // namespace tunefleet::trainer

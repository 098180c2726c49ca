#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tuners/trainable_set.h"

namespace tunefleet::trainer {

/// Tensors that are trained with the same settings.
struct OptimizerGroup {
  std::vector<tuners::TrainableTensor> tensors;
  double lr_scale = 1.0;      ///< Its learning rate over the schedule's.
  double weight_decay = 0.0;  ///< Decoupled.
};

/// Turns gradients into steps of the tensors. What it remembers of a tensor (moments, projectors)
/// is kept by the tensor's path, comes into being with the first step, and stays when the tensor
/// leaves the set: LISA's layers find their state again when they are drawn next.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// From now on these train. Tensors that were there before keep their state, others start anew.
  virtual void set_groups(const std::vector<OptimizerGroup>& groups) = 0;

  /// One step on the .grad of every tensor of the groups; those without one are passed over.
  virtual void step(double learning_rate) = 0;
  /// The same for one tensor alone. Throws std::invalid_argument when no group has that path.
  virtual void step_one(const std::string& path, double learning_rate) = 0;

  using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
  /// Everything remembered, as "<path>.<what>", sorted by path; "<path>.step" also for tensors that
  /// never took a step: what a checkpoint keeps.
  virtual NamedTensors state() const = 0;
  /// Takes a saved state over; after it the run goes on bit for bit. Throws std::invalid_argument
  /// naming a tensor that is missing, of another shape, or of a tensor that does not train here.
  virtual void load(const NamedTensors& state) = 0;

  /// Of state(), in bytes.
  int64_t state_bytes() const;
};

}  // namespace tunefleet::trainer

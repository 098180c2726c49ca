#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "worker/trainer/optimizer.h"

namespace tunefleet::trainer {

/// A saved state while it is read: each tensor is taken once, and what is left over at
/// the end belongs to something that does not train here.
class SavedState {
 public:
  explicit SavedState(const Optimizer::NamedTensors& tensors);

  /// The tensor of that name, copied to `device`. Throws std::invalid_argument when there is none.
  at::Tensor take(const std::string& name, at::Device device);
  /// The same, also refusing another shape.
  at::Tensor take(const std::string& name, at::IntArrayRef shape, at::Device device);
  /// The value of a tensor of one number.
  double take_number(const std::string& name);
  bool has(const std::string& name) const { return left_.contains(name); }

  /// Throws std::invalid_argument naming a tensor that nobody took.
  void check_all_taken() const;

 private:
  std::map<std::string, at::Tensor> left_;
};

}  // namespace tunefleet::trainer

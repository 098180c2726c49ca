#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace tunefleet::tuners {

/// An update of a linear layer that can only be applied by forming a matrix, D [out, in] from some
/// values. Immutable; no autograd: the fused linear kernel calls both ways.
class WeightMap {
 public:
  using Tensors = std::vector<at::Tensor>;
  virtual ~WeightMap() = default;

  /// weight + D(values), a new tensor; weight [out, in] in any float dtype.
  virtual at::Tensor added_to(const at::Tensor& weight, const Tensors& values) const = 0;
  /// The gradients of the values from that of the sum, [out, in].
  virtual Tensors gradients(const at::Tensor& grad, const Tensors& values) const = 0;
  /// Whether the sum is to be kept for the backward pass, since it takes long to form again.
  virtual bool is_kept() const { return false; }
};

/// A map with its values.
struct WeightUpdate {
  std::shared_ptr<const WeightMap> map;
  WeightMap::Tensors values;  ///< What is differentiated.
};

/// The map of a differentiable function of the values, which is called again for the gradients.
std::shared_ptr<const WeightMap> weight_map(
    std::function<at::Tensor(const WeightMap::Tensors&)> dense);

}  // namespace tunefleet::tuners

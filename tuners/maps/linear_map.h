#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace tunefleet::tuners {

/// A linear map U [out, in] that depends linearly on some values, and that need not be a matrix in
/// memory: an update y += x U^T of a linear layer. Immutable; layers of one shape may share it.
class LinearMap {
 public:
  virtual ~LinearMap() = default;

  /// U as a matrix, float32, differentiable in the values, on their device.
  virtual at::Tensor dense(const at::Tensor& values) const = 0;

  /// y [N, out] += x U^T; x [N, in] and y in any float dtype, rounded once. No autograd.
  virtual void add_product(const at::Tensor& x, const at::Tensor& values, at::Tensor& y) const;

  /// The backward of add_product for the gradient g [N, out] of y: dx [N, in] += g U where it is
  /// not null; returns the gradient of the values, undefined unless `wanted`. No autograd.
  virtual at::Tensor add_gradients(const at::Tensor& x, const at::Tensor& values,
                                   const at::Tensor& g, at::Tensor* dx, bool wanted) const;
};

/// A map with its values: what a linear layer's fused kernel takes beside low-rank updates.
struct MappedUpdate {
  std::shared_ptr<const LinearMap> map;
  at::Tensor values;  ///< Float32; what is differentiated.
};

/// x U^T as a node of its own: [N, in] -> [N, out] in x's dtype.
at::Tensor map_product(const at::Tensor& x, int64_t out, const MappedUpdate& update);

}  // namespace tunefleet::tuners

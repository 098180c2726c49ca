#include "tuners/gradient_place.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/variable.h>

namespace tunefleet::tuners {

at::Tensor gradient_place(const at::Tensor& tensor) {
  namespace autograd = torch::autograd::impl;
  if (at::GradMode::is_enabled() || !tensor.is_leaf() || !tensor.requires_grad()) return {};
  const auto& grad = tensor.grad();
  if (!grad.defined() || grad.layout() != at::kStrided || !grad.is_contiguous() ||
      grad.scalar_type() != tensor.scalar_type() || grad.requires_grad()) {
    return {};
  }
  const bool hooked =
      !autograd::hooks(tensor).empty() || autograd::post_acc_grad_hooks(tensor) != nullptr;
  return hooked ? at::Tensor() : grad;
}

at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x) {
  auto place = gradient_place(weight);
  if (!place.defined()) return dy.t().matmul(x);
  place.addmm_(dy.t(), x);
  return {};
}

}  // namespace tunefleet::tuners

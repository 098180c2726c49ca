#pragma once

#include <ATen/core/Tensor.h>

namespace tunefleet::tuners {

/// Where the gradients of `tensor` are summed up, or undefined: its .grad, when that is there
/// already (contiguous, of the tensor's dtype), the tensor is a leaf, and nothing waits for each
/// gradient by itself (a hook, a gradient of the gradient). A backward function that adds there
/// and returns no gradient does what autograd would do next, without a tensor of that size between.
/// Not to be called where the gradient itself is asked for, by torch::autograd::grad().
at::Tensor gradient_place(const at::Tensor& tensor);

/// dy^T x, [out, in], of dy [N, out] and x [N, in] of the weight's dtype: added to the weight's
/// gradient_place(), and undefined, where there is one; otherwise as a new tensor.
at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x);

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

namespace tunefleet::kernels {

/// Rows of weight [V, C] by ids int64 [N]: [N, C]. Differentiable in weight; its gradient goes to
/// where it is summed up already (tuners/gradient_place.h) as the N rows that it has, so that a
/// step on few tokens writes no tensor of the whole embedding's size.
at::Tensor embedding(const at::Tensor& weight, const at::Tensor& ids);

}  // namespace tunefleet::kernels

#pragma once

#include <ATen/core/Tensor.h>

namespace tunefleet::kernels {

/// -log softmax(hidden weight^T)[target] of each row, float32 [M], without ever holding the logits
/// of more than a chunk of rows: the backward computes them again, when it is known how much each
/// row's loss weighs. hidden [M, C], the labelled rows only; weight [V, C]; targets int64 [M], each
/// in [0, V). Differentiable in hidden, and in weight where it requires a gradient.
/// linear_cross_entropy.h is for sums of equal weights, and computes the logits once.
at::Tensor linear_token_losses(const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& targets);

/// The same of logits [M, V] that are all there, in torch's operations: the plain counterpart.
/// Computed in float32.
at::Tensor token_losses(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace tunefleet::kernels

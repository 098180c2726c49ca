#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tunefleet::kernels {

/// Sums over the rows of one call; not differentiable.
struct CrossEntropySums {
  double loss = 0.0;    ///< Of -log p(target), unscaled.
  int64_t correct = 0;  ///< Rows whose target has the largest logit.
  int64_t rows = 0;
};

/// scale * sum over rows of -log softmax(hidden weight^T)[target], a float32 scalar, without ever
/// holding the logits of more than a chunk of rows: each chunk's gradient is computed in the
/// forward, at once, when hidden needs one. hidden [M, C], the labelled rows only; weight [V, C];
/// targets int64 [M], each in [0, V). Differentiable in hidden, and in weight where it requires a
/// gradient. `sums`, when not null, is added to. Idea: Hsu et al. 2024, Liger Kernel,
/// arXiv:2410.10989, §3.2.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                const at::Tensor& targets, double scale, CrossEntropySums* sums);

/// The same of logits [M, V] that are all there, in torch's operations: the plain counterpart.
/// Computed in float32.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double scale,
                         CrossEntropySums* sums);

}  // namespace tunefleet::kernels

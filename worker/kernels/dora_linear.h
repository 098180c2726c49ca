#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/sites.h"

namespace tunefleet::kernels {

/// DoRA's linear layer as one autograd node: with c = magnitude / norm, a number for each output,
/// and x' = dropout(x),
///   y = x W^T + b + (c - 1) * x' W^T + c * scaling * B(A(x')),
/// which without dropout is b + c * (x W^T + scaling * B(A(x))): one product with W, as LoRA.
///
/// x [N, in]; weight [out, in]; bias [out] or undefined; y [N, out]. `update` has magnitude [out]
/// and norm [out], float32; the norm takes no part in the gradient (Liu et al. 2024,
/// arXiv:2402.09353, §4.3), and its `more` and `bias` are empty. Kept for backward: x, A x, and the
/// part that is rescaled, which without bias is found in y itself.
at::Tensor dora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       const tuners::LowRankUpdate& update, const tuners::ForwardContext& context);

}  // namespace tunefleet::kernels

#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/sites.h"

namespace tunefleet::kernels {

/// weight * x / sqrt(mean(x^2) + eps) over the last dimension, statistics in float32, rounded to
/// x's dtype before the multiplication as Hugging Face's LlamaRMSNorm does. x [..., C]; weight [C],
/// rounded to x's dtype when it is in another; y [..., C] in x's dtype. Differentiable in both.
/// Fused, it keeps x and one float32 a row. Source: Zhang & Sennrich 2019, arXiv:1910.07467.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                    tuners::Kernels kernels = tuners::Kernels::kFused);

}  // namespace tunefleet::kernels

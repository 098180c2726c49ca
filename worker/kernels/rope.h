#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/sites.h"

namespace tunefleet::kernels {

/// Rotary position embedding in Hugging Face's order (first half with second half of a head).
/// x [N, H, D] with contiguous heads; cos, sin float32 [N, D/2], one row a token; the result [N, H,
/// D], differentiable in x. Source: Su et al. 2021, arXiv:2104.09864, eq. 34.
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                tuners::Kernels kernels = tuners::Kernels::kFused);

}  // namespace tunefleet::kernels

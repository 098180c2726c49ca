#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/sites.h"

namespace tunefleet::kernels {

/// silu(gate) * up, elementwise and differentiable; gate, up and the result [N, C].
/// Source: Shazeer 2020, arXiv:2002.05202, eq. 5 without the projections.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up,
                  tuners::Kernels kernels = tuners::Kernels::kFused);

}  // namespace tunefleet::kernels

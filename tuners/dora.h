#pragma once

#include <ATen/core/Tensor.h>

/// What layers of every kind share of DoRA: Liu et al. 2024, arXiv:2402.09353, eq. 5. (The fused
/// linear layer has it in worker/kernels/dora_linear.h.)
namespace tunefleet::tuners {

/// magnitude / norm, what each output is scaled by: float32 [out]. `magnitude` has any shape and
/// dtype; `norm` (row_norm.h) takes no gradient.
at::Tensor dora_scale(const at::Tensor& magnitude, const at::Tensor& norm);

/// y + (scale - 1) * plain + scale * low: the whole output, with a bias that is not scaled.
/// `y` is the base's output, `plain` what it is without its bias and on the dropped-out input,
/// `low` the low-rank update's. `scale` broadcasts to them.
at::Tensor dora_output(const at::Tensor& y, const at::Tensor& plain, const at::Tensor& low,
                       const at::Tensor& scale);

}  // namespace tunefleet::tuners

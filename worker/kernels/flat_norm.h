#pragma once

#include <ATen/core/Tensor.h>

namespace tunefleet::kernels {

/// The norm of a tensor of one dimension, float32 or bfloat16, on any device: on the CPU float32
/// sums of pieces, added in float64. One float32 sum over millions is wrong by 1e-4, and torch
/// writes all of a bfloat16 tensor as float32 first.
double flat_norm(const at::Tensor& flat);

}  // namespace tunefleet::kernels

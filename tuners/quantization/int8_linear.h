#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "tuners/quantization/int8_weight.h"

namespace tunefleet::tuners {

/// y = x W^T + b with W in 8 bits: x [N, in], b [out] or undefined, y [N, out]. W exists as numbers
/// of x's dtype only while a product is taken, in the forward pass and again in the backward.
/// Differentiable in x and b, and in W by its stand-in, whose gradient has the stand-in's dtype.
at::Tensor int8_linear(const at::Tensor& x, const std::shared_ptr<const Int8Weight>& weight,
                       const at::Tensor& bias);

}  // namespace tunefleet::tuners

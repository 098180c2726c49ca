#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

/// Series of small skew-symmetric matrices by loops on the CPU. No autograd.
namespace tunefleet::tuners {

/// factors[0] Q + factors[1] Q^2 + … for the skew-symmetric Q [n, b, b] whose upper triangles are
/// the rows of `entries` [n, b (b - 1) / 2] float32. At least one factor.
at::Tensor skew_series(const at::Tensor& entries, int64_t b, const std::vector<double>& factors);
/// The gradient of the entries from that of the series; all powers are formed again.
at::Tensor skew_series_backward(const at::Tensor& entries, int64_t b,
                                const std::vector<double>& factors, const at::Tensor& grad);

}  // namespace tunefleet::tuners

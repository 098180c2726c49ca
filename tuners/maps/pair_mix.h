#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tunefleet::tuners {

/// Mixes pairs of features, i and j = i + half within groups of 2 half:
///   y_i = along_i z_i + across_i z_j,  y_j = along_j z_j + across_j z_i
/// z [N, C] in any float dtype, along and across [C] float32; y in z's dtype, computed in float32
/// and rounded once. One node, on the CPU one loop; z is kept for the backward pass.
at::Tensor mix_pairs(const at::Tensor& z, const at::Tensor& along, const at::Tensor& across,
                     int64_t half);

}  // namespace tunefleet::tuners

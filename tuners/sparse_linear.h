#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "tuners/sparse_pattern.h"

namespace tunefleet::tuners {

/// x S^T, differentiable in x and the values: x [N, cols] of any float dtype, values float32
/// [entries] -> [N, rows] float32. On the CPU it takes as many multiplications for a token as S has
/// entries, forward and for each of the two gradients: neither S nor a gradient of its size is
/// formed.
at::Tensor sparse_linear(const at::Tensor& x, const at::Tensor& values,
                         const std::shared_ptr<const SparsePattern>& pattern);

}  // namespace tunefleet::tuners

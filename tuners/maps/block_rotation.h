#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

/// Rotations of blocks of b features by loops on the CPU (see tuners/rotation.h). No autograd.
namespace tunefleet::tuners {

/// Whether the loops take x [N, n b]: float32 or bfloat16 in main memory, blocks that stay in the
/// cache.
bool has_block_loops(const at::Tensor& x, int64_t b);

/// x + x blockdiag(d) in x's dtype, rounded once; d [n, b, b], or [1, b, b] for all blocks,
/// float32.
at::Tensor blocks_rotated(const at::Tensor& x, const at::Tensor& d);

/// The gradients of x, in its dtype, and of d from that of the result, g [N, n b]; undefined where
/// not wanted. x may be undefined when d's is not wanted.
std::pair<at::Tensor, at::Tensor> blocks_rotated_backward(const at::Tensor& x, const at::Tensor& d,
                                                          const at::Tensor& g, bool wants_dx,
                                                          bool wants_dd);

}  // namespace tunefleet::tuners

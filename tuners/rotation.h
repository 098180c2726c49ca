#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

/// Rotations of blocks of a layer's input, as OFT and BOFT have them. All functions are
/// differentiable by hand-written backward passes that keep only their inputs and what is of the
/// blocks' size.
namespace tunefleet::tuners {

/// Skew-symmetric matrices [n, b, b] from the rows of `entries` [n, b (b - 1) / 2]: the upper
/// triangle row by row, its negative below.
at::Tensor skew_symmetric(const at::Tensor& entries, int64_t b);

/// R - I of the Cayley transform R = (I - Q) (I + Q)^-1 for skew-symmetric q [n, b, b] float32.
/// Source: Qiu et al. 2023, arXiv:2306.07280, section 3.3.
at::Tensor cayley(const at::Tensor& q);

/// R - I of R = I + 2 Q + 2 Q^2 + … + 2 Q^(terms - 2) + Q^(terms - 1), which comes near to
/// (I + Q) (I - Q)^-1 for small q [n, b, b]: the inverse of cayley(). One term: 0; two: I + 2 Q.
/// Source: Qiu et al. 2025, arXiv:2506.19847, section 3.3, with the last term as PEFT 0.18 and
/// later have it (tuners/oft/layer.py).
at::Tensor cayley_neumann(const at::Tensor& q, int64_t terms);

/// cayley_neumann(skew_symmetric(entries, b), terms), on the CPU in one pass that keeps nothing but
/// the entries.
at::Tensor skew_cayley_neumann(const at::Tensor& entries, int64_t b, int64_t terms);

/// x R for R = I + blockdiag(d_1 … d_n): x [N, n b] in any float dtype, d [n, b, b] float32, or
/// [1, b, b] for all blocks. The sum is made in x's dtype from x itself and the small x d, so that
/// bfloat16 does not round small angles away. A weight [out, n b] of a rotated input becomes W R^T:
/// rotate_blocks(weight, d.transpose(1, 2)).
at::Tensor rotate_blocks(const at::Tensor& x, const at::Tensor& d);

}  // namespace tunefleet::tuners

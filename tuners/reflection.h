#pragma once

#include <ATen/core/Tensor.h>

/// Chains of Householder reflections of a layer's input, as HRA has them.
namespace tunefleet::tuners {

/// H = H_1 H_2 … H_r, H_i = I - 2 u_i u_i^T / |u_i|^2, is I - U S^-1 U^T with S = triu(U^T U, 1) +
/// diag(U^T U) / 2 (the compact WY form); `orthogonal`: I - 2 P, P the projection on the span of
/// the u_i, which is the same chain after Gram-Schmidt. Source: Schreiber & Van Loan 1989; Yuan et
/// al. 2024, arXiv:2405.17484, eq. 5 and 8.
struct Reflections {
  at::Tensor u;             ///< [in, r] float32.
  bool orthogonal = false;  ///< Gram-Schmidt first.
};

/// x H^T, differentiable in x and u: x [N, in] in any float dtype. Keeps x and what has r columns.
at::Tensor reflect(const at::Tensor& x, const Reflections& reflections);

/// W H: what a weight [out, in] float32 becomes when its input is reflected. No autograd.
at::Tensor reflect_weight(const at::Tensor& weight, const Reflections& reflections);

}  // namespace tunefleet::tuners

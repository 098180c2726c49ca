#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "tuners/config/lora_options.h"

/// How LoRA's A and B start.
namespace tunefleet::tuners {

/// Both float32, on the CPU when they are made here.
struct LoraFactors {
  at::Tensor a;  ///< [r, in], of a convolution [r, in, kh, kw]
  at::Tensor b;  ///< [out, r], of a convolution [out, r / groups, 1, 1]
};

/// Who draws: A from the stream (seed, "<path>.lora_A.<name>"), B from "….lora_B.<name>", so that
/// values depend neither on other layers nor on the order of creation.
struct LoraDraw {
  std::string path;
  std::string adapter_name;
  uint64_t seed = 0;
};

/// Initial values that do not look at the base; shapes as above.
///   true        A U(-1/sqrt(n), 1/sqrt(n)), n = numbers in one of its rows; B 0
///   gaussian    A N(0, 1/r^2), B 0
///   false       A as for true, B likewise: not the identity, for tests
///   orthogonal  A, B from the odd and even rows of one random orthogonal [r, r]: B A = 0; matrices
///               of even r only
/// Throws std::invalid_argument for another word.
LoraFactors drawn_factors(const std::string& init, at::IntArrayRef a_shape, at::IntArrayRef b_shape,
                          const LoraDraw& draw);

/// PiSSA (Meng et al. 2024, arXiv:2404.02948) and OLoRA (Büyükakyüz 2024, arXiv:2406.01775): the
/// part of `weight` [out, in] that they train; the base is used without scaling * B A then.
///   PiSSA  the largest r singular values s_k: A_k = sqrt(s_k / scaling) v_k, B_k likewise of u_k;
///          with niter approximately, by that many steps of power iteration on random vectors
///   OLoRA  W = Q R: A the first r rows of R, B the first r columns of Q
/// A pair of singular vectors, or a column of Q and a row of R, is known up to a common sign. Here
/// the number of largest magnitude in each row of A is positive (PEFT keeps what LAPACK gives), so
/// that all machines start alike; B A does not depend on it. Computed in float32 on the CPU.
LoraFactors base_factors(const BaseInit& init, const at::Tensor& weight, int64_t r, double scaling,
                         const LoraDraw& draw);

}  // namespace tunefleet::tuners

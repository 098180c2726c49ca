#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tunefleet::tuners {

/// Numbers in `bits` bits each, x ~ (code - zero) * scale, with one scale and one zero for each
/// `group` numbers that lie one behind the other in row-major order; the last group may be shorter.
/// A value: copies share the tensors.
/// Source: Zhang et al. 2024, Q-GaLore, arXiv:2407.08296, eq. 1 (asymmetric, by minimum and
/// maximum).
struct QuantizedGroups {
  at::Tensor codes;   ///< uint8 [n], or [ceil(n / 2)] with two codes in a byte for up to 4 bits.
  at::Tensor scales;  ///< float32 [groups]
  at::Tensor zeros;   ///< uint8 [groups]
  std::vector<int64_t> shape;  ///< Of the numbers.
  int64_t group = 256;
  int64_t bits = 8;

  int64_t bytes() const;
};

/// Rounds `value` (any float dtype) to the nearest codes. `draws`, when defined (float32 of value's
/// shape, uniform in [0, 1)), rounds stochastically instead: up with the probability of the part
/// cut off, so that the expected value is the number itself. Throws std::invalid_argument unless
/// 1 <= bits <= 8 and group >= 1.
QuantizedGroups quantize_groups(const at::Tensor& value, int64_t bits, int64_t group,
                                const at::Tensor& draws = {});

/// The same into `groups`, made of a tensor of value's shape before, with stochastic rounding whose
/// draws depend on `key` and a number's place alone (place i has 24 bits of the hash of (key,
/// i / 2)): with any number of threads the same.
void requantize(const at::Tensor& value, uint64_t key, QuantizedGroups& groups);

/// The numbers again, [shape] in `dtype`.
at::Tensor dequantize(const QuantizedGroups& groups, at::ScalarType dtype);

}  // namespace tunefleet::tuners

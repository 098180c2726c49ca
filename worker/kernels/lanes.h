#pragma once

#include <bit>
#include <cstdint>

#include "worker/kernels/cpu_loops.h"

/// What the CPU loops share: loads and stores of both element types, and an exp that vectorises.
namespace tunefleet::kernels::cpu {

// One clone for each level of the instruction set, chosen when the program is loaded.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TUNEFLEET_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TUNEFLEET_CLONES
#endif
#define TUNEFLEET_INLINE inline __attribute__((always_inline))

TUNEFLEET_INLINE float load(float x) { return x; }
TUNEFLEET_INLINE float load(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

TUNEFLEET_INLINE void store(float* to, float x) { *to = x; }
/// The upper half of x after rounding to nearest, ties to even; a NaN stays one.
TUNEFLEET_INLINE uint32_t rounded_bits(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t nan = 0U - static_cast<uint32_t>((bits & 0x7fffffffU) > 0x7f800000U);
  const uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
  return ((rounded & ~nan) | (0x7fc00000U & nan)) & 0xffff0000U;
}
TUNEFLEET_INLINE void store(Bf16* to, float x) {
  to->bits = static_cast<uint16_t>(rounded_bits(x) >> 16);
}

TUNEFLEET_INLINE float rounded_as(const float*, float x) { return x; }
TUNEFLEET_INLINE float rounded_as(const Bf16*, float x) {
  return std::bit_cast<float>(rounded_bits(x));
}

/// e^x within 2 ulp, for x <= 88; below -87 it is 0 to within float32. Cephes' expf polynomial.
TUNEFLEET_INLINE float exp_approx(float x) {
  x = x < -87.0F ? -87.0F : x;
  x = x > 88.0F ? 88.0F : x;
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504F + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kMagic);
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

TUNEFLEET_INLINE float sigmoid(float x) { return 1.0F / (1.0F + exp_approx(-x)); }

}  // namespace tunefleet::kernels::cpu

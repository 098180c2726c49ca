#include "tuners/quantization/group_loops.h"

#include <bit>
#include <cstring>

#include "tuners/maps/tile_lanes.h"
#include "tuners/random.h"

namespace tunefleet::tuners::loops {
namespace {

constexpr float kLeastRange = 1e-5F;  ///< Of a group of equal numbers: keeps scales from zero.
constexpr float kMagic =
    12582912.0F;                    ///< 1.5 * 2^23: adding it rounds to an integer, ties to even.
constexpr float kFar = 2097152.0F;  ///< Far beyond any code, and still rounded exactly.

TUNEFLEET_INLINE float between(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}
TUNEFLEET_INLINE float rounded(float x) { return (x + kMagic) - kMagic; }

/// The scale and the zero of a group.
TUNEFLEET_INLINE void find_range(const float* x, int64_t count, float top, float* scale,
                                 float* zero) {
  float low = x[0], high = x[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < count; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  const float range = high - low;
  *scale = (range < kLeastRange ? kLeastRange : range) / top;
  *zero = between(-rounded(between(low / *scale, -kFar, kFar)), 0.0F, top);
}

template <int kLanes>
TUNEFLEET_INLINE void quantize_nearest_lanes(const float* x, int64_t count, float top,
                                             uint8_t* codes, float* scale, uint8_t* zero) {
  float s, z;
  find_range(x, count, top, &s, &z);
#pragma omp simd simdlen(kLanes)
  for (int64_t i = 0; i < count; ++i) {
    const float code = rounded(between(x[i] / s, -kFar, kFar)) + z;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(between(code, 0.0F, top)));
  }
  *scale = s;
  *zero = static_cast<uint8_t>(z);
}

template <int kLanes>
TUNEFLEET_INLINE void quantize_drawn_lanes(const float* x, const float* draws, int64_t count,
                                           float top, uint8_t* codes, float* scale, uint8_t* zero) {
  float s, z;
  find_range(x, count, top, &s, &z);
#pragma omp simd simdlen(kLanes)
  for (int64_t i = 0; i < count; ++i) {
    const float exact = between(x[i] / s, -kFar, kFar);
    const float nearest = rounded(exact);
    const float down = nearest - (nearest > exact ? 1.0F : 0.0F);
    const float code = down + (draws[i] < exact - down ? 1.0F : 0.0F) + z;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(between(code, 0.0F, top)));
  }
  *scale = s;
  *zero = static_cast<uint8_t>(z);
}

template <int kLanes>
TUNEFLEET_INLINE void dequantize_lanes(const uint8_t* codes, int64_t count, float scale, float zero,
                                       float* x) {
#pragma omp simd simdlen(kLanes)
  for (int64_t i = 0; i < count; ++i)
    x[i] = (static_cast<float>(static_cast<int32_t>(codes[i])) - zero) * scale;
}

/// Bits 40 to 63 of each hash are the first number of its pair, bits 16 to 39 the second.
template <int kLanes>
TUNEFLEET_INLINE void uniform_draws_lanes(uint64_t key, int64_t pair, int64_t pairs, float* draws) {
  constexpr uint64_t k24Bits = 0xFFFFFF;
  constexpr int64_t kBlock = 256;
  uint64_t both[kBlock];
  int32_t each[2 * kBlock];
  const uint64_t mixed = mix(key);
  for (int64_t from = 0; from < pairs; from += kBlock) {
    const int64_t count = pairs - from < kBlock ? pairs - from : kBlock;
#pragma omp simd simdlen(kLanes / 2)
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t bits = mix(mixed ^ static_cast<uint64_t>(pair + from + i));
      both[i] = (bits >> 40) | (((bits >> 16) & k24Bits) << 32);
    }
    std::memcpy(each, both, static_cast<size_t>(count) * sizeof both[0]);
#pragma omp simd simdlen(kLanes)
    for (int64_t i = 0; i < 2 * count; ++i)
      draws[2 * from + i] = static_cast<float>(each[i]) * 0x1.0p-24F;
  }
}

static_assert(std::endian::native == std::endian::little, "pairs are read as two halves");

}  // namespace

TUNEFLEET_FOR_LANES(quantize_nearest,
                    (const float* x, int64_t count, float top, uint8_t* codes, float* scale,
                     uint8_t* zero),
                    (x, count, top, codes, scale, zero))
TUNEFLEET_FOR_LANES(quantize_drawn,
                    (const float* x, const float* draws, int64_t count, float top, uint8_t* codes,
                     float* scale, uint8_t* zero),
                    (x, draws, count, top, codes, scale, zero))
TUNEFLEET_FOR_LANES(dequantize,
                    (const uint8_t* codes, int64_t count, float scale, float zero, float* x),
                    (codes, count, scale, zero, x))
TUNEFLEET_FOR_LANES(uniform_draws, (uint64_t key, int64_t pair, int64_t pairs, float* draws),
                    (key, pair, pairs, draws))

}  // namespace tunefleet::tuners::loops

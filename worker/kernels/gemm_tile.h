#pragma once

#include <algorithm>
#include <cstdint>

#include "tuners/maps/tile_lanes.h"
#include "worker/kernels/lanes.h"

/// The pieces of the products in gemm_loops.cpp, for 16 lanes (AVX-512) and 8. A product
/// C [M, N] = A [M, K] B [K, N] is made of tiles of kRows<L> x 2 L numbers that stay in registers;
/// A comes in panels of kRows rows, B in panels of 2 L columns, both float32 and kDepth deep, so
/// that one of each fits into the first cache. Numbers are widened as they are put into panels.
namespace tunefleet::kernels::cpu {

using tuners::loops::has_16_lanes;
using tuners::loops::Lanes;
using tuners::loops::Lanes16;
using tuners::loops::Lanes8;

template <int L>
inline constexpr int64_t kRows = L == 16 ? 12 : 6;
template <int L>
inline constexpr int64_t kColumns = 2 * L;
inline constexpr int64_t kDepth = 256;

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/// How a panel of A lies: each row's kDepth numbers in a row, or the rows' numbers of one k.
enum class Panel { kByRow, kByDepth };

template <int L, Panel panel>
TUNEFLEET_INLINE void tile_lanes(const float* a, const float* b, int64_t depth, float* c,
                                 int64_t c_stride, bool add) {
  constexpr int64_t kR = kRows<L>;
  Lanes<L> sums[kR][2];
  for (int64_t r = 0; r < kR; ++r) {
    for (int64_t j = 0; j < 2; ++j) {
      sums[r][j] = Lanes<L>{};
      if (add) tuners::loops::load(sums[r][j], c + r * c_stride + j * L);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes<L> left, right;
    tuners::loops::load(left, b + k * 2 * L);
    tuners::loops::load(right, b + k * 2 * L + L);
    for (int64_t r = 0; r < kR; ++r) {
      const float each = a[panel == Panel::kByRow ? r * kDepth + k : k * kR + r];
      sums[r][0] += each * left;
      sums[r][1] += each * right;
    }
  }
  for (int64_t r = 0; r < kR; ++r) {
    for (int64_t j = 0; j < 2; ++j) tuners::loops::store(c + r * c_stride + j * L, sums[r][j]);
  }
}

// Not inlined: among other vectors the compiler would keep these in memory.
#define TUNEFLEET_TILE(panel)                                                              \
  TUNEFLEET_16_LANES __attribute__((noinline, unused)) void tile_16_##panel(               \
      const float* a, const float* b, int64_t depth, float* c, int64_t stride, bool add) { \
    tile_lanes<16, Panel::panel>(a, b, depth, c, stride, add);                             \
  }                                                                                        \
  TUNEFLEET_8_LANES __attribute__((noinline, unused)) void tile_8_##panel(                 \
      const float* a, const float* b, int64_t depth, float* c, int64_t stride, bool add) { \
    tile_lanes<8, Panel::panel>(a, b, depth, c, stride, add);                              \
  }
namespace {
TUNEFLEET_TILE(kByRow)
TUNEFLEET_TILE(kByDepth)
}  // namespace
#undef TUNEFLEET_TILE

/// c [kRows, kColumns], rows `stride` apart, = a panel of A times one of B; plus what was there if
/// `add`.
template <int L, Panel panel>
TUNEFLEET_INLINE void tile(const float* a, const float* b, int64_t depth, float* c, int64_t stride,
                           bool add) {
  if constexpr (L == 16 && panel == Panel::kByRow) tile_16_kByRow(a, b, depth, c, stride, add);
  if constexpr (L == 16 && panel == Panel::kByDepth) tile_16_kByDepth(a, b, depth, c, stride, add);
  if constexpr (L == 8 && panel == Panel::kByRow) tile_8_kByRow(a, b, depth, c, stride, add);
  if constexpr (L == 8 && panel == Panel::kByDepth) tile_8_kByDepth(a, b, depth, c, stride, add);
}

/// to[i] = from[i] for i < n, 0 up to `padded`.
template <typename T>
TUNEFLEET_INLINE void widen(const T* from, float* to, int64_t n, int64_t padded) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = load(from[i]);
  for (int64_t i = n; i < padded; ++i) to[i] = 0.0F;
}

/// to[i] = from[i] + bias[i], rounded; `bias` may be null.
template <typename T>
TUNEFLEET_INLINE void narrow(const float* from, const float* bias, T* to, int64_t n) {
  if (bias == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(to + i, from[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(to + i, from[i] + bias[i]);
  }
}

/// One stage of a transposition: rows i and i + half, lane by lane in turns. log2(lanes) of them
/// turn a square around.
TUNEFLEET_INLINE void interleave(const Lanes16* from, Lanes16* to) {
  for (int i = 0; i < 8; ++i) {
    to[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                        21, 6, 22, 7, 23);
    to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                            28, 13, 29, 14, 30, 15, 31);
  }
}
TUNEFLEET_INLINE void interleave(const Lanes8* from, Lanes8* to) {
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = __builtin_shufflevector(from[i], from[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
}
TUNEFLEET_INLINE void transpose(Lanes16* v) {
  Lanes16 other[16];
  interleave(v, other);
  interleave(other, v);
  interleave(v, other);
  interleave(other, v);
}
TUNEFLEET_INLINE void transpose(Lanes8* v) {
  Lanes8 other[8];
  interleave(v, other);
  interleave(other, v);
  interleave(v, other);
  for (int i = 0; i < 8; ++i) v[i] = other[i];
}

}  // namespace tunefleet::kernels::cpu

#include "tuners/tile_loops.h"

#include <algorithm>
#include <cstring>

// One clone for each level of the instruction set, chosen when the program is loaded.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TUNEFLEET_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TUNEFLEET_CLONES
#endif
#define TUNEFLEET_INLINE inline __attribute__((always_inline))

namespace tunefleet::tuners::loops {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kVectors = kTile / kLanes;  ///< Of one feature's tokens.
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

TUNEFLEET_INLINE void load(Vector& v, const float* from) { std::memcpy(&v, from, sizeof v); }
TUNEFLEET_INLINE void store(float* to, const Vector& v) { std::memcpy(to, &v, sizeof v); }

/// Turns a block of 8 x 8 whose rows lie `from_pitch` floats apart; the result's lie `to_pitch`.
TUNEFLEET_INLINE void turn_block(const float* from, int64_t from_pitch, float* to,
                                 int64_t to_pitch) {
  Vector r[8], a[8], b[8];
  for (int i = 0; i < 8; ++i) load(r[i], from + i * from_pitch);
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    a[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int k = 0; k < 2; ++k) {
      b[i + k] = __builtin_shufflevector(a[i + k], a[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      b[i + k + 2] = __builtin_shufflevector(a[i + k], a[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    store(to + i * to_pitch, __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(to + (i + 4) * to_pitch,
          __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

/// from [rows, cols] -> to [cols, rows], likewise.
TUNEFLEET_INLINE void turn(const float* from, int64_t rows, int64_t cols, int64_t from_pitch,
                           float* to, int64_t to_pitch) {
  const int64_t whole_rows = rows / 8 * 8, whole_cols = cols / 8 * 8;
  for (int64_t c = 0; c < whole_cols; c += 8) {
    for (int64_t r = 0; r < whole_rows; r += 8)
      turn_block(from + r * from_pitch + c, from_pitch, to + c * to_pitch + r, to_pitch);
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c)
      to[c * to_pitch + r] = from[r * from_pitch + c];
  }
}

/// Tokens from … from + count - 1 of x as a tile, features first; missing tokens are zero.
TUNEFLEET_INLINE void tile_of(const float* x, int64_t width, int64_t from, int64_t count,
                              float* tile) {
  if (count < kTile) std::fill(tile, tile + width * kTile, 0.0F);
  turn(x + from * width, count, width, width, tile, kTile);
}

}  // namespace

TUNEFLEET_CLONES
void sparse_product(const SparseRows& matrix, const float* values, const float* x, float* y,
                    int64_t from, int64_t to, float* scratch) {
  float* in = scratch;
  float* out = scratch + matrix.cols * kTile;
  for (int64_t first = from; first < to; first += kTile) {
    const int64_t count = std::min(kTile, to - first);
    tile_of(x, matrix.cols, first, count, in);
    for (int64_t r = 0; r < matrix.rows; ++r) {
      Vector sum[kVectors] = {};
      for (int32_t e = matrix.starts[r]; e < matrix.starts[r + 1]; ++e) {
        const float value = values[matrix.order[e]];
        const float* column = in + matrix.columns[e] * kTile;
        for (int64_t k = 0; k < kVectors; ++k) {
          Vector v;
          load(v, column + k * kLanes);
          sum[k] += v * value;
        }
      }
      for (int64_t k = 0; k < kVectors; ++k) store(out + r * kTile + k * kLanes, sum[k]);
    }
    turn(out, matrix.rows, count, kTile, y + first * matrix.rows, matrix.rows);
  }
}

TUNEFLEET_CLONES
void sampled_product(const SparseRows& matrix, const float* g, const float* x, float* sums,
                     int64_t from, int64_t to, float* scratch) {
  float* in = scratch;
  float* out = scratch + matrix.cols * kTile;
  for (int64_t first = from; first < to; first += kTile) {
    const int64_t count = std::min(kTile, to - first);
    tile_of(x, matrix.cols, first, count, in);
    tile_of(g, matrix.rows, first, count, out);
    for (int64_t r = 0; r < matrix.rows; ++r) {
      Vector row[kVectors];
      for (int64_t k = 0; k < kVectors; ++k) load(row[k], out + r * kTile + k * kLanes);
      for (int32_t e = matrix.starts[r]; e < matrix.starts[r + 1]; ++e) {
        const float* column = in + matrix.columns[e] * kTile;
        Vector part = {};
        for (int64_t k = 0; k < kVectors; ++k) {
          Vector v;
          load(v, column + k * kLanes);
          part += row[k] * v;
        }
        sums[matrix.order[e]] += ((part[0] + part[4]) + (part[1] + part[5])) +
                                 ((part[2] + part[6]) + (part[3] + part[7]));
      }
    }
  }
}

}  // namespace tunefleet::tuners::loops

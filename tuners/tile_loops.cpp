#include "tuners/tile_loops.h"

#include <algorithm>

// One clone for each level of the instruction set, chosen when the program is loaded.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TUNEFLEET_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TUNEFLEET_CLONES
#endif

namespace tunefleet::tuners::loops {
namespace {

/// `count` rows of x from row `from`, columns first; missing tokens are zero.
inline __attribute__((always_inline)) void turn(const float* x, int64_t width, int64_t from,
                                                int64_t count, float* tile) {
  if (count < kTile) std::fill(tile, tile + width * kTile, 0.0F);
  for (int64_t c = 0; c < width; c += kTile) {
    const int64_t wide = std::min(kTile, width - c);
    for (int64_t t = 0; t < count; ++t) {
      const float* row = x + (from + t) * width + c;
      for (int64_t i = 0; i < wide; ++i) tile[(c + i) * kTile + t] = row[i];
    }
  }
}

inline __attribute__((always_inline)) void turn_back(const float* tile, int64_t width, int64_t from,
                                                     int64_t count, float* y) {
  for (int64_t c = 0; c < width; c += kTile) {
    const int64_t wide = std::min(kTile, width - c);
    for (int64_t t = 0; t < count; ++t) {
      float* row = y + (from + t) * width + c;
      for (int64_t i = 0; i < wide; ++i) row[i] = tile[(c + i) * kTile + t];
    }
  }
}

}  // namespace

TUNEFLEET_CLONES
void sparse_product(const SparseRows& matrix, const float* values, const float* x, float* y,
                    int64_t from, int64_t to, float* scratch) {
  float* in = scratch;
  float* out = scratch + matrix.cols * kTile;
  for (int64_t first = from; first < to; first += kTile) {
    const int64_t count = std::min(kTile, to - first);
    turn(x, matrix.cols, first, count, in);
    for (int64_t r = 0; r < matrix.rows; ++r) {
      float sum[kTile] = {};
      for (int32_t e = matrix.starts[r]; e < matrix.starts[r + 1]; ++e) {
        const float value = values[matrix.order[e]];
        const float* column = in + matrix.columns[e] * kTile;
        for (int64_t t = 0; t < kTile; ++t) sum[t] += value * column[t];
      }
      for (int64_t t = 0; t < kTile; ++t) out[r * kTile + t] = sum[t];
    }
    turn_back(out, matrix.rows, first, count, y);
  }
}

TUNEFLEET_CLONES
void sampled_product(const SparseRows& matrix, const float* g, const float* x, float* sums,
                     int64_t from, int64_t to, float* scratch) {
  float* in = scratch;
  float* out = scratch + matrix.cols * kTile;
  for (int64_t first = from; first < to; first += kTile) {
    const int64_t count = std::min(kTile, to - first);
    turn(x, matrix.cols, first, count, in);
    turn(g, matrix.rows, first, count, out);
    for (int64_t r = 0; r < matrix.rows; ++r) {
      const float* row = out + r * kTile;
      for (int32_t e = matrix.starts[r]; e < matrix.starts[r + 1]; ++e) {
        const float* column = in + matrix.columns[e] * kTile;
        float part[4] = {};
        for (int64_t t = 0; t < kTile; t += 4) {
          for (int64_t i = 0; i < 4; ++i) part[i] += row[t + i] * column[t + i];
        }
        sums[matrix.order[e]] += (part[0] + part[1]) + (part[2] + part[3]);
      }
    }
  }
}

}  // namespace tunefleet::tuners::loops

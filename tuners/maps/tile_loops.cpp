#include "tuners/maps/tile_loops.h"

#include "tuners/maps/tile_lanes.h"

namespace tunefleet::tuners::loops {
namespace {

/// Turns a block of 8 x 8 whose rows lie `pitch` floats apart.
TUNEFLEET_INLINE void turned_block(const float* from, int64_t pitch, Lanes8* to) {
  Lanes8 r[8], a[8], b[8];
  for (int i = 0; i < 8; ++i) load(r[i], from + i * pitch);
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
    to[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    to[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

template <int kLanes>
TUNEFLEET_INLINE void to_tile_lanes(const float* x, int64_t width, int64_t count, float* tile) {
  const int64_t whole = count / 8 * 8, whole_width = width / 8 * 8;
  if (count < kTile) std::fill(tile, tile + width * kTile, 0.0F);
  for (int64_t c = 0; c < whole_width; c += 8) {
    for (int64_t t = 0; t < whole; t += 8) {
      Lanes8 block[8];
      turned_block(x + t * width + c, width, block);
      for (int i = 0; i < 8; ++i) store(tile + (c + i) * kTile + t, block[i]);
    }
  }
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t c = t < whole ? whole_width : 0; c < width; ++c)
      tile[c * kTile + t] = x[t * width + c];
  }
}

template <int kLanes>
TUNEFLEET_INLINE void add_tile_lanes(const float* tile, int64_t width, int64_t count, float scale,
                                     float* y) {
  const int64_t whole = count / 8 * 8, whole_width = width / 8 * 8;
  for (int64_t t = 0; t < whole; t += 8) {
    for (int64_t c = 0; c < whole_width; c += 8) {
      Lanes8 block[8];
      turned_block(tile + c * kTile + t, kTile, block);
      for (int i = 0; i < 8; ++i) {
        Lanes8 sum;
        load(sum, y + (t + i) * width + c);
        sum += scale * block[i];
        store(y + (t + i) * width + c, sum);
      }
    }
  }
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t c = t < whole ? whole_width : 0; c < width; ++c)
      y[t * width + c] += scale * tile[c * kTile + t];
  }
}

template <int kLanes>
TUNEFLEET_INLINE void sparse_product_lanes(const SparseRows& matrix, const float* values,
                                           const float* in, float* out) {
  constexpr int kParts = kTile / kLanes;
  for (int64_t r = 0; r < matrix.rows; ++r) {
    Lanes<kLanes> sum[kParts] = {};
    for (int32_t e = matrix.starts[r]; e < matrix.starts[r + 1]; ++e) {
      const float value = values[matrix.numbers[e]];
      const float* column = in + matrix.columns[e] * kTile;
      for (int k = 0; k < kParts; ++k) {
        Lanes<kLanes> v;
        load(v, column + k * kLanes);
        sum[k] += v * value;
      }
    }
    for (int k = 0; k < kParts; ++k) store(out + r * kTile + k * kLanes, sum[k]);
  }
}

template <int kLanes>
TUNEFLEET_INLINE void row_product(const float* a, const float* b, Lanes8& sum) {
  Lanes<kLanes> parts = {};
  for (int k = 0; k < kTile / kLanes; ++k) {
    Lanes<kLanes> u, v;
    load(u, a + k * kLanes);
    load(v, b + k * kLanes);
    parts += u * v;
  }
  folded(sum, parts);
}

template <int kLanes>
TUNEFLEET_INLINE void sampled_product_lanes(const SparseRows& matrix, const float* g,
                                            const float* x, float* sums) {
  const int32_t entries = matrix.starts[matrix.rows];
  for (int32_t e = 0; e < entries; e += 8) {
    const int32_t count = std::min(8, entries - e);
    Lanes8 parts[8] = {};
    if (count == 8) {  // known to the compiler: all in registers
      for (int32_t i = 0; i < 8; ++i)
        row_product<kLanes>(g + matrix.row_of[e + i] * kTile, x + matrix.columns[e + i] * kTile,
                            parts[i]);
    } else {
      for (int32_t i = 0; i < count; ++i)
        row_product<kLanes>(g + matrix.row_of[e + i] * kTile, x + matrix.columns[e + i] * kTile,
                            parts[i]);
    }
    Lanes8 total;
    sums_of(total, parts);
    for (int32_t i = 0; i < count; ++i) sums[matrix.numbers[e + i]] += total[i];
  }
}

}  // namespace

TUNEFLEET_FOR_LANES(to_tile, (const float* x, int64_t width, int64_t count, float* tile),
                    (x, width, count, tile))
TUNEFLEET_FOR_LANES(add_tile,
                    (const float* tile, int64_t width, int64_t count, float scale, float* y),
                    (tile, width, count, scale, y))
TUNEFLEET_FOR_LANES(sparse_product,
                    (const SparseRows& matrix, const float* values, const float* in, float* out),
                    (matrix, values, in, out))
TUNEFLEET_FOR_LANES(sampled_product,
                    (const SparseRows& matrix, const float* g, const float* x, float* sums),
                    (matrix, g, x, sums))

}  // namespace tunefleet::tuners::loops

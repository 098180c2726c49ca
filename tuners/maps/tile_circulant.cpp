#include "tuners/maps/tile_circulant.h"

#include <algorithm>

#include "tuners/maps/tile_lanes.h"

namespace tunefleet::tuners::loops {
namespace {

constexpr int64_t kPairs = kTile / 2;

/// What the inner loops need: the outputs of one product, and how far apart things are, in floats.
struct Shape {
  const TileCirculant::Halves* halves;
  int64_t outputs, inputs, block;
  int64_t output_step, input_step, half_step;  ///< Among the weights.
};

/// y += w x and mirrored += conj(w) x_mirrored, or the other way round for the transposed matrix.
template <typename V, bool kConjugate>
TUNEFLEET_INLINE void add_product(V* sum, const V* x, float re, float im) {
  const float turn = kConjugate ? -im : im;
  sum[0] += re * x[0] - turn * x[1];
  sum[1] += re * x[1] + turn * x[0];
  sum[2] += re * x[2] + turn * x[3];
  sum[3] += re * x[3] - turn * x[2];
}

/// Real and imaginary part at a place, then at its mirror image.
template <typename V>
TUNEFLEET_INLINE void load_both(V* v, const float* block, const std::pair<int64_t, int64_t>& half,
                                int64_t part) {
  load(v[0], block + half.first * kTile + part);
  load(v[1], block + half.first * kTile + kPairs + part);
  load(v[2], block + half.second * kTile + part);
  load(v[3], block + half.second * kTile + kPairs + part);
}

/// kCount outputs of one frequency at a time.
template <int kLanes, bool kConjugate, int kCount>
TUNEFLEET_INLINE void frequency_product(const Shape& shape, const std::pair<int64_t, int64_t>& half,
                                        int64_t part, const float* w, const float* x, float* y) {
  using V = Lanes<kLanes>;
  V sum[kCount][4] = {};
  for (int64_t i = 0; i < shape.inputs; ++i) {
    V in[4];
    load_both(in, x + i * shape.block, half, part);
    for (int o = 0; o < kCount; ++o) {
      const float* each = w + o * shape.output_step + i * shape.input_step;
      add_product<V, kConjugate>(sum[o], in, each[0], each[1]);
    }
  }
  for (int o = 0; o < kCount; ++o) {
    float* out = y + o * shape.block + part;
    store(out + half.first * kTile, sum[o][0]);
    store(out + half.first * kTile + kPairs, sum[o][1]);
    store(out + half.second * kTile, sum[o][2]);
    store(out + half.second * kTile + kPairs, sum[o][3]);
  }
}

template <int kLanes, bool kConjugate>
TUNEFLEET_INLINE void circulant_product(const Shape& shape, const float* weights, const float* x,
                                        float* y) {
  constexpr int kCount = kLanes == 16 ? 4 : 2;  // as many as fit the registers
  for (size_t h = 0; h < shape.halves->size(); ++h) {
    const auto& half = (*shape.halves)[h];
    const float* w = weights + static_cast<int64_t>(h) * shape.half_step;
    for (int64_t part = 0; part < kPairs; part += kLanes) {
      int64_t o = 0;
      for (; o + kCount <= shape.outputs; o += kCount) {
        frequency_product<kLanes, kConjugate, kCount>(shape, half, part, w + o * shape.output_step,
                                                      x, y + o * shape.block);
      }
      for (; o < shape.outputs; ++o) {
        frequency_product<kLanes, kConjugate, 1>(shape, half, part, w + o * shape.output_step, x,
                                                 y + o * shape.block);
      }
    }
  }
}

template <int kLanes>
TUNEFLEET_INLINE void product_of_lanes(const Shape& shape, const float* weights, const float* x,
                                       float* y) {
  circulant_product<kLanes, false>(shape, weights, x, y);
}
template <int kLanes>
TUNEFLEET_INLINE void transposed_of_lanes(const Shape& shape, const float* weights, const float* g,
                                          float* x) {
  circulant_product<kLanes, true>(shape, weights, g, x);
}

/// conj(g) x of a place and the conjugate of that of its mirror image, summed over the lanes:
/// real and imaginary part.
template <int kLanes>
TUNEFLEET_INLINE void both_products(const float* g, const float* x,
                                    const std::pair<int64_t, int64_t>& half, Lanes8* to) {
  using V = Lanes<kLanes>;
  V re = {}, im = {};
  for (int64_t part = 0; part < kPairs; part += kLanes) {
    V a[4], b[4];
    load_both(a, g, half, part);
    load_both(b, x, half, part);
    re += a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
    im += a[0] * b[1] - a[1] * b[0] + a[3] * b[2] - a[2] * b[3];
  }
  folded(to[0], re);
  folded(to[1], im);
}

/// `shape`'s outputs are the blocks of g.
template <int kLanes>
TUNEFLEET_INLINE void sampled_of_lanes(const Shape& shape, const float* g, const float* x,
                                       float* sums) {
  for (const auto& half : *shape.halves) {
    for (int64_t o = 0; o < shape.outputs; ++o) {
      int64_t i = 0;
      for (; i + 4 <= shape.inputs; i += 4, sums += 8) {
        Lanes8 parts[8], total;
        for (int64_t k = 0; k < 4; ++k)
          both_products<kLanes>(g + o * shape.block, x + (i + k) * shape.block, half,
                                parts + 2 * k);
        sums_of(total, parts);
        Lanes8 sum;
        load(sum, sums);
        sum += total;
        store(sums, sum);
      }
      for (; i < shape.inputs; ++i, sums += 2) {
        Lanes8 parts[8] = {}, total;
        both_products<kLanes>(g + o * shape.block, x + i * shape.block, half, parts);
        sums_of(total, parts);
        sums[0] += total[0];
        sums[1] += total[1];
      }
    }
  }
}

TUNEFLEET_FOR_LANES(product_of,
                    (const Shape& shape, const float* weights, const float* x, float* y),
                    (shape, weights, x, y))
TUNEFLEET_FOR_LANES(transposed_of,
                    (const Shape& shape, const float* weights, const float* g, float* x),
                    (shape, weights, g, x))
TUNEFLEET_FOR_LANES(sampled_of, (const Shape& shape, const float* g, const float* x, float* sums),
                    (shape, g, x, sums))

}  // namespace

TileCirculant::TileCirculant(int64_t rows, int64_t cols, int64_t b)
    : rows_(rows), cols_(cols), b_(b), fourier_(b) {
  for (int64_t f = 0; f <= b / 2; ++f)
    halves_.emplace_back(fourier_.place(f), fourier_.place((b - f) % b));
}

/// Blocks are transformed in tiles of their own, two real ones as one complex.
void TileCirculant::spectrum(const float* blocks, float* weights) const {
  std::vector<float> tile(static_cast<size_t>(b_ * kTile));
  const int64_t all = rows_ * cols_;
  for (int64_t first = 0; first < all; first += kTile) {
    const int64_t count = std::min(kTile, all - first);
    to_tile(blocks + first * b_, b_, count, tile.data());
    fourier_.analyse(tile.data(), 1);
    for (size_t h = 0; h < halves_.size(); ++h) {
      const float* at = tile.data() + halves_[h].first * kTile;
      const float* mirror = tile.data() + halves_[h].second * kTile;
      float* to = weights + (static_cast<int64_t>(h) * all + first) * 2;
      for (int64_t k = 0; k < std::min(kPairs, count); ++k) {  // (z + conj(mirror)) / 2
        to[2 * k] = 0.5F * (at[k] + mirror[k]);
        to[2 * k + 1] = 0.5F * (at[k + kPairs] - mirror[k + kPairs]);
      }
      for (int64_t k = 0; k + kPairs < count; ++k) {  // (z - conj(mirror)) / 2i
        to[2 * (k + kPairs)] = 0.5F * (at[k + kPairs] + mirror[k + kPairs]);
        to[2 * (k + kPairs) + 1] = 0.5F * (mirror[k] - at[k]);
      }
    }
  }
}

void TileCirculant::add_gradient(const float* sums, float scale, float* blocks) const {
  const int64_t all = rows_ * cols_;
  for (int64_t first = 0; first < all; first += kTile) {
    const int64_t count = std::min(kTile, all - first);
    std::vector<float> tile(static_cast<size_t>(b_ * kTile));
    for (size_t h = 0; h < halves_.size(); ++h) {
      float* at = tile.data() + halves_[h].first * kTile;
      float* mirror = tile.data() + halves_[h].second * kTile;
      const float* from = sums + (static_cast<int64_t>(h) * all + first) * 2;
      for (int64_t k = 0; k < std::min(kPairs, count); ++k) {
        const bool two = k + kPairs < count;
        const float re = from[2 * k], im = from[2 * k + 1];
        const float other_re = two ? from[2 * (k + kPairs)] : 0.0F;
        const float other_im = two ? from[2 * (k + kPairs) + 1] : 0.0F;
        mirror[k] = re + other_im;  // own mirror images have no imaginary part
        mirror[k + kPairs] = other_re - im;
        at[k] = re - other_im;
        at[k + kPairs] = im + other_re;
      }
    }
    fourier_.synthesise(tile.data(), 1);
    add_tile(tile.data(), b_, count, 0.5F * scale, blocks + first * b_);
  }
}

void TileCirculant::product(const float* weights, const float* x, float* y) const {
  product_of({.halves = &halves_,
              .outputs = rows_,
              .inputs = cols_,
              .block = b_ * kTile,
              .output_step = cols_ * 2,
              .input_step = 2,
              .half_step = rows_ * cols_ * 2},
             weights, x, y);
}

void TileCirculant::transposed(const float* weights, const float* g, float* x) const {
  transposed_of({.halves = &halves_,
                 .outputs = cols_,
                 .inputs = rows_,
                 .block = b_ * kTile,
                 .output_step = 2,
                 .input_step = cols_ * 2,
                 .half_step = rows_ * cols_ * 2},
                weights, g, x);
}

void TileCirculant::sampled(const float* g, const float* x, float* sums) const {
  sampled_of({.halves = &halves_,
              .outputs = rows_,
              .inputs = cols_,
              .block = b_ * kTile,
              .output_step = 0,
              .input_step = 0,
              .half_step = 0},
             g, x, sums);
}

}  // namespace tunefleet::tuners::loops

#include "tuners/maps/pair_loops.h"

#include "tuners/maps/tile_lanes.h"

namespace tunefleet::tuners::loops {
namespace {

template <int kLanes>
TUNEFLEET_INLINE void mix_pairs_lanes(const Pairs& pairs, const float* z, int64_t rows, float* y) {
  const int64_t half = pairs.half;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t first = 0; first < pairs.width; first += 2 * half) {
      const float* __restrict own = z + t * pairs.width + first;
      const float* __restrict along = pairs.along + first;
      const float* __restrict across = pairs.across + first;
      float* __restrict to = y + t * pairs.width + first;
      for (int64_t i = 0; i < half; ++i) {
        to[i] = along[i] * own[i] + across[i] * own[half + i];
        to[half + i] = along[half + i] * own[half + i] + across[half + i] * own[i];
      }
    }
  }
}

/// A vector of pairs (or, with kCount 1, one) of all rows: their sums stay in registers.
template <typename V>
struct PairColumn {
  V along[2], across[2];  ///< Factors.
  V of_along[2] = {}, of_across[2] = {};

  TUNEFLEET_INLINE void add_row(const V* z, const V* g, V* dz) {
    for (int k = 0; k < 2; ++k) {
      of_along[k] += g[k] * z[k];
      of_across[k] += g[k] * z[1 - k];
      dz[k] = along[k] * g[k] + across[1 - k] * g[1 - k];
    }
  }
};

template <typename V>
TUNEFLEET_INLINE void backward_column(const Pairs& pairs, int64_t feature, const float* z,
                                      const float* g, int64_t rows, float* dz, float* along,
                                      float* across) {
  PairColumn<V> column;
  const int64_t places[2] = {feature, feature + pairs.half};
  for (int k = 0; k < 2; ++k) {
    load(column.along[k], pairs.along + places[k]);
    load(column.across[k], pairs.across + places[k]);
  }
  for (int64_t t = 0; t < rows; ++t) {
    V own[2], grad[2], made[2];
    for (int k = 0; k < 2; ++k) {
      load(own[k], z + t * pairs.width + places[k]);
      load(grad[k], g + t * pairs.width + places[k]);
    }
    column.add_row(own, grad, made);
    for (int k = 0; dz != nullptr && k < 2; ++k) store(dz + t * pairs.width + places[k], made[k]);
  }
  for (int k = 0; k < 2; ++k) {
    V sum;
    load(sum, along + places[k]);
    sum += column.of_along[k];
    store(along + places[k], sum);
    load(sum, across + places[k]);
    sum += column.of_across[k];
    store(across + places[k], sum);
  }
}

template <int kLanes>
TUNEFLEET_INLINE void mix_pairs_backward_lanes(const Pairs& pairs, int64_t group, const float* z,
                                               const float* g, int64_t rows, float* dz,
                                               float* along, float* across) {
  const int64_t first = group * 2 * pairs.half, end = first + pairs.half;
  int64_t i = first;
  for (; i + kLanes <= end; i += kLanes)
    backward_column<Lanes<kLanes>>(pairs, i, z, g, rows, dz, along, across);
  for (; i < end; ++i) backward_column<float>(pairs, i, z, g, rows, dz, along, across);
}

}  // namespace

TUNEFLEET_FOR_LANES(mix_pairs, (const Pairs& pairs, const float* z, int64_t rows, float* y),
                    (pairs, z, rows, y))
TUNEFLEET_FOR_LANES(mix_pairs_backward,
                    (const Pairs& pairs, int64_t group, const float* z, const float* g,
                     int64_t rows, float* dz, float* along, float* across),
                    (pairs, group, z, g, rows, dz, along, across))

}  // namespace tunefleet::tuners::loops

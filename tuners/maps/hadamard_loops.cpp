#include "tuners/maps/hadamard_loops.h"

#include "tuners/maps/tile_lanes.h"

namespace tunefleet::tuners::loops {
namespace {

constexpr int kRows = 8;  ///< That are worked on together.

/// kCount rows from `row` on, kWide vectors of columns from c on.
template <typename V, int kCount, int kWide>
TUNEFLEET_INLINE void add_part(const LowRankFactors& factors, int64_t row, int64_t c,
                               const float* weight, const float* base, float* sum) {
  constexpr auto kLanes = static_cast<int64_t>(sizeof(V) / sizeof(float));
  V product[kCount][kWide] = {};
  for (int64_t k = 0; k < factors.r; ++k) {
    V a[kWide];
    for (int w = 0; w < kWide; ++w) load(a[w], factors.a + k * factors.width + c + w * kLanes);
    for (int i = 0; i < kCount; ++i) {
      const float b = factors.b[(row + i) * factors.r + k];
      for (int w = 0; w < kWide; ++w) product[i][w] += b * a[w];
    }
  }
  for (int i = 0; i < kCount; ++i) {
    for (int w = 0; w < kWide; ++w) {
      const int64_t at = (row + i) * factors.width + c + w * kLanes;
      V start, own;
      load(start, weight + at);
      load(own, base + at);
      start += own * product[i][w];
      store(sum + at, start);
    }
  }
}

template <int kLanes, int kCount>
TUNEFLEET_INLINE void add_row_part(const LowRankFactors& factors, int64_t row, const float* weight,
                                   const float* base, float* sum) {
  constexpr int kWide = kLanes == 16 ? 2 : 1;
  int64_t c = 0;
  for (; c + kWide * kLanes <= factors.width; c += kWide * kLanes)
    add_part<Lanes<kLanes>, kCount, kWide>(factors, row, c, weight, base, sum);
  for (; c < factors.width; ++c) add_part<float, kCount, 1>(factors, row, c, weight, base, sum);
}

template <int kLanes>
TUNEFLEET_INLINE void add_hadamard_lanes(const LowRankFactors& factors, const float* weight,
                                         const float* base, float* sum) {
  int64_t row = 0;
  for (; row + kRows <= factors.rows; row += kRows)
    add_row_part<kLanes, kRows>(factors, row, weight, base, sum);
  for (; row < factors.rows; ++row) add_row_part<kLanes, 1>(factors, row, weight, base, sum);
}

/// The products g o base of kCount rows into `room` [kCount, width], and da += B^T of them.
template <typename V, int kCount>
TUNEFLEET_INLINE void da_part(const LowRankFactors& factors, int64_t row, int64_t c,
                              const float* base, const float* g, float* da, float* room) {
  V products[kCount];
  for (int i = 0; i < kCount; ++i) {
    V own;
    load(products[i], g + (row + i) * factors.width + c);
    load(own, base + (row + i) * factors.width + c);
    products[i] *= own;
    store(room + i * factors.width + c, products[i]);
  }
  for (int64_t k = 0; k < factors.r; ++k) {
    V sum;
    load(sum, da + k * factors.width + c);
    for (int i = 0; i < kCount; ++i) sum += factors.b[(row + i) * factors.r + k] * products[i];
    store(da + k * factors.width + c, sum);
  }
}

/// db of kCount rows and kWide columns k from the products in `room`.
template <int kLanes, int kCount, int kWide>
TUNEFLEET_INLINE void db_part(const LowRankFactors& factors, int64_t row, int64_t k,
                              const float* room, float* db) {
  Lanes<kLanes> sums[kWide][kCount] = {};
  const float* a = factors.a + k * factors.width;
  int64_t c = 0;
  for (; c + kLanes <= factors.width; c += kLanes) {
    Lanes<kLanes> own[kWide];
    for (int w = 0; w < kWide; ++w) load(own[w], a + w * factors.width + c);
    for (int i = 0; i < kCount; ++i) {
      Lanes<kLanes> product;
      load(product, room + i * factors.width + c);
      for (int w = 0; w < kWide; ++w) sums[w][i] += product * own[w];
    }
  }
  for (int w = 0; w < kWide; ++w) {
    Lanes8 halves[8] = {}, total;
    for (int i = 0; i < kCount; ++i) folded(halves[i], sums[w][i]);
    sums_of(total, halves);
    for (int i = 0; i < kCount; ++i) {
      float sum = total[i];
      for (int64_t rest = c; rest < factors.width; ++rest)
        sum += room[i * factors.width + rest] * a[w * factors.width + rest];
      db[(row + i) * factors.r + k + w] = sum;
    }
  }
}

template <int kLanes, int kCount>
TUNEFLEET_INLINE void gradient_rows(const LowRankFactors& factors, int64_t row, const float* base,
                                    const float* g, float* db, float* da, float* room) {
  int64_t c = 0;
  for (; c + kLanes <= factors.width; c += kLanes)
    da_part<Lanes<kLanes>, kCount>(factors, row, c, base, g, da, room);
  for (; c < factors.width; ++c) da_part<float, kCount>(factors, row, c, base, g, da, room);
  constexpr int kWide = kLanes == 16 ? 2 : 1;
  int64_t k = 0;
  for (; k + kWide <= factors.r; k += kWide)
    db_part<kLanes, kCount, kWide>(factors, row, k, room, db);
  for (; k < factors.r; ++k) db_part<kLanes, kCount, 1>(factors, row, k, room, db);
}

template <int kLanes>
TUNEFLEET_INLINE void hadamard_gradients_lanes(const LowRankFactors& factors, const float* base,
                                               const float* g, float* db, float* da, float* room) {
  int64_t row = 0;
  for (; row + kRows <= factors.rows; row += kRows)
    gradient_rows<kLanes, kRows>(factors, row, base, g, db, da, room);
  for (; row < factors.rows; ++row) gradient_rows<kLanes, 1>(factors, row, base, g, db, da, room);
}

}  // namespace

TUNEFLEET_FOR_LANES(add_hadamard,
                    (const LowRankFactors& factors, const float* weight, const float* base,
                     float* sum),
                    (factors, weight, base, sum))
TUNEFLEET_FOR_LANES(hadamard_gradients,
                    (const LowRankFactors& factors, const float* base, const float* g, float* db,
                     float* da, float* room),
                    (factors, base, g, db, da, room))

}  // namespace tunefleet::tuners::loops

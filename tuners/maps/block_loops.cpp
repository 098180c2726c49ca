#include "tuners/maps/block_loops.h"

#include "tuners/maps/tile_lanes.h"

namespace tunefleet::tuners::loops {
namespace {

/// Sums of products: the factor of a row and a term lies at row * row_step + term * term_step, the
/// term's vector at term * vector_step.
struct Terms {
  const float* factors;
  int64_t row_step, term_step;
  const float* vectors;
  int64_t vector_step, count;
};

/// kRows rows and kWide vectors of columns, from column c on: all in registers.
template <int kLanes, int kRows, int kWide>
TUNEFLEET_INLINE void add_terms(const Terms& terms, int64_t row, int64_t c, const ConstRows& from,
                                const Rows& to) {
  Lanes<kLanes> sum[kRows][kWide];
  for (int r = 0; r < kRows; ++r) {
    for (int k = 0; k < kWide; ++k)
      load(sum[r][k], from.data + (row + r) * from.step + c + k * kLanes);
  }
  const float *factors = terms.factors + row * terms.row_step, *vectors = terms.vectors + c;
  for (int64_t i = 0; i < terms.count; ++i) {
    Lanes<kLanes> v[kWide];
    for (int k = 0; k < kWide; ++k) load(v[k], vectors + i * terms.vector_step + k * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const float factor = factors[r * terms.row_step + i * terms.term_step];
      for (int k = 0; k < kWide; ++k) sum[r][k] += factor * v[k];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int k = 0; k < kWide; ++k)
      store(to.data + (row + r) * to.step + c + k * kLanes, sum[r][k]);
  }
}

template <int kLanes, int kRows>
TUNEFLEET_INLINE void add_columns(const Terms& terms, int64_t row, int64_t w, const ConstRows& from,
                                  const Rows& to) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= w; c += 2 * kLanes) add_terms<kLanes, kRows, 2>(terms, row, c, from, to);
  for (; c < w; c += kLanes) add_terms<kLanes, kRows, 1>(terms, row, c, from, to);
}

template <int kLanes>
TUNEFLEET_INLINE void add_all(const Terms& terms, int64_t rows, int64_t w, const ConstRows& from,
                              const Rows& to) {
  constexpr int kRows = kLanes == 16 ? 8 : 4;  // two vectors each: what the registers hold
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) add_columns<kLanes, kRows>(terms, row, w, from, to);
  for (; row < rows; ++row) add_columns<kLanes, 1>(terms, row, w, from, to);
}

template <int kLanes>
TUNEFLEET_INLINE void rows_product_lanes(const ConstRows& x, const float* d, int64_t rows,
                                         int64_t w, const ConstRows& from, const Rows& y) {
  const Terms terms{.factors = x.data,
                    .row_step = x.step,
                    .term_step = 1,
                    .vectors = d,
                    .vector_step = w,
                    .count = w};
  add_all<kLanes>(terms, rows, w, from, y);
}

template <int kLanes>
TUNEFLEET_INLINE void add_rows_gradient_lanes(const ConstRows& x, const ConstRows& g, int64_t rows,
                                              int64_t w, float* sums) {
  const Terms terms{.factors = x.data,
                    .row_step = 1,
                    .term_step = x.step,
                    .vectors = g.data,
                    .vector_step = g.step,
                    .count = rows};
  add_all<kLanes>(terms, w, w, {sums, w}, {sums, w});
}

}  // namespace

TUNEFLEET_FOR_LANES(rows_product,
                    (const ConstRows& x, const float* d, int64_t rows, int64_t w,
                     const ConstRows& from, const Rows& y),
                    (x, d, rows, w, from, y))
TUNEFLEET_FOR_LANES(add_rows_gradient,
                    (const ConstRows& x, const ConstRows& g, int64_t rows, int64_t w, float* sums),
                    (x, g, rows, w, sums))

}  // namespace tunefleet::tuners::loops

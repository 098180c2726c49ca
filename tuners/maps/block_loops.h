#pragma once

#include <cstdint>

/// Products of rows with small square matrices on plain memory: no torch here, so that they are
/// compiled with flags of their own. All is float32; w is a multiple of 16.
namespace tunefleet::tuners::loops {

constexpr int64_t kBlockWidth = 16;

/// Rows of w numbers, the first of each `step` behind that of the row before.
struct ConstRows {
  const float* data;
  int64_t step;
};
struct Rows {
  float* data;
  int64_t step;
};

/// y [rows, w] = from + x d for x and `from` [rows, w], d [w, w] without gaps. y may be `from`.
void rows_product(const ConstRows& x, const float* d, int64_t rows, int64_t w,
                  const ConstRows& from, const Rows& y);
/// sums [w, w] += x^T g for x and g [rows, w].
void add_rows_gradient(const ConstRows& x, const ConstRows& g, int64_t rows, int64_t w,
                       float* sums);

}  // namespace tunefleet::tuners::loops

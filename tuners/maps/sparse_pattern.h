#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tuners/maps/tile_loops.h"

namespace tunefleet::tuners {

/// Where the entries of a sparse matrix S [rows, cols] stand, and which of the values that come
/// with each call is whose. Several entries may share a place: they add up. Immutable, shared by
/// layers of one shape.
class SparsePattern {
 public:
  /// `numbers`: of each entry's value; empty: the entries' own numbers. Throws
  /// std::invalid_argument when a place lies outside of the matrix, or numbers are not one for each
  /// entry.
  SparsePattern(int64_t rows, int64_t cols, const std::vector<int64_t>& entry_rows,
                const std::vector<int64_t>& entry_cols, const at::Device& device,
                const std::vector<int64_t>& numbers = {});

  int64_t rows() const { return by_row_.rows; }
  int64_t cols() const { return by_row_.cols; }
  int64_t entries() const { return static_cast<int64_t>(by_row_.columns.size()); }
  int64_t values() const { return values_; }  ///< How many there are: the largest number plus 1.

  /// S and S^T for the loops over tiles; valid as long as the pattern.
  loops::SparseRows by_row() const { return view(by_row_); }
  loops::SparseRows by_col() const { return view(by_col_); }

  /// S as a dense matrix [rows, cols] float32, differentiable in the values, on their device.
  at::Tensor dense(const at::Tensor& values) const;
  /// g [N, rows] -> g S [N, cols] float32 in torch's operations, differentiable in g, which has the
  /// pattern's device.
  at::Tensor transposed_product(const at::Tensor& g, const at::Tensor& values) const;

 private:
  /// Entries sorted by row.
  struct Rows {
    int64_t rows = 0, cols = 0;
    std::vector<int32_t> starts, columns, numbers, row_of;
  };
  static Rows sorted(int64_t rows, int64_t cols, const std::vector<int64_t>& entry_rows,
                     const std::vector<int64_t>& entry_cols, const std::vector<int64_t>& numbers);
  static loops::SparseRows view(const Rows& matrix);

  /// Row, column and number of every entry, int64.
  struct Places {
    at::Tensor row, col, number;
  };
  Places places_on(const at::Device& device) const;
  Places places() const { return places_.row.defined() ? places_ : places_on(at::kCPU); }

  Rows by_row_;  ///< Of S.
  Rows by_col_;  ///< Of S^T.
  int64_t values_ = 0;
  Places places_;  ///< Where that is not the CPU: there they are made when asked for.
};

}  // namespace tunefleet::tuners

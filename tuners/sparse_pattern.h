#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace tunefleet::tuners {

/// Where the entries of a sparse matrix S [rows, cols] stand; the values come with each call, in
/// the order in which the places were given. Several entries may share a place: they add up.
/// Float32, no autograd but through dense(); on the CPU by loops of our own, elsewhere in torch's
/// operations. Immutable, shared by layers of one shape.
class SparsePattern {
 public:
  /// Throws std::invalid_argument when a place lies outside of the matrix.
  SparsePattern(int64_t rows, int64_t cols, const std::vector<int64_t>& entry_rows,
                const std::vector<int64_t>& entry_cols, const at::Device& device);

  int64_t rows() const { return by_row_.rows; }
  int64_t cols() const { return by_row_.cols; }
  int64_t entries() const { return static_cast<int64_t>(by_row_.columns.size()); }

  /// x [N, cols] -> x S^T [N, rows].
  at::Tensor product(const at::Tensor& x, const at::Tensor& values) const;
  /// g [N, rows] -> g S [N, cols].
  at::Tensor transposed_product(const at::Tensor& g, const at::Tensor& values) const;
  /// sum_t g[t, row] x[t, col] for every entry: the gradient of the values, [entries].
  at::Tensor sampled_product(const at::Tensor& g, const at::Tensor& x) const;
  /// S as a dense matrix [rows, cols], differentiable in the values.
  at::Tensor dense(const at::Tensor& values) const;

 private:
  /// Entries sorted by row.
  struct Rows {
    int64_t rows = 0, cols = 0;
    std::vector<int32_t> starts, columns, order;
  };
  static Rows sorted(int64_t rows, int64_t cols, const std::vector<int64_t>& entry_rows,
                     const std::vector<int64_t>& entry_cols);
  static at::Tensor run(const Rows& matrix, const at::Tensor& x, const at::Tensor& values);

  /// Row and column of every entry, int64 [entries] on the CPU, in the order given.
  std::pair<at::Tensor, at::Tensor> places() const;

  Rows by_row_;           ///< Of S.
  Rows by_col_;           ///< Of S^T.
  at::Tensor row_, col_;  ///< places() where the matrix is used; undefined on the CPU.
};

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace tunefleet::tuners {

/// Where the entries of a sparse matrix lie, in the orders that its products need. Immutable.
class SparseEntries {
 public:
  /// `indices` int32 [2, n]: rows and columns. Throws std::invalid_argument when one lies outside
  /// of [rows, cols].
  SparseEntries(const at::Tensor& indices, int64_t rows, int64_t cols);

  /// One of the two orders: entries by rows, or by columns.
  struct Order {
    std::vector<int32_t> first;  ///< [rows + 1]: the entries of row i are first[i] … first[i + 1].
    std::vector<int32_t> other;  ///< Of each entry in this order: its column.
    std::vector<int32_t> place;  ///< And its number in `indices`.
  };
  const Order& by_row() const { return by_row_; }
  const Order& by_column() const { return by_column_; }
  int64_t rows() const { return static_cast<int64_t>(by_row_.first.size()) - 1; }
  int64_t columns() const { return static_cast<int64_t>(by_column_.first.size()) - 1; }
  int64_t size() const { return static_cast<int64_t>(by_row_.place.size()); }
  /// Row * columns + column of every entry in the order of `indices`, int64 [n] where they lie.
  const at::Tensor& flat() const { return flat_; }

 private:
  Order by_row_, by_column_;
  at::Tensor flat_;
};

/// x S^T, differentiable in x and the values: x [N, columns] of any float dtype, values float32
/// [n] -> [N, rows] float32. On the CPU it takes n multiplications for a token, forward and for
/// each of the two gradients: neither S nor a gradient of its size is formed.
at::Tensor sparse_linear(const at::Tensor& x, const at::Tensor& values,
                         const std::shared_ptr<const SparseEntries>& pattern);

/// The dense S, [rows, columns] float32; differentiable in the values.
at::Tensor sparse_to_dense(const at::Tensor& values, const SparseEntries& pattern);

}  // namespace tunefleet::tuners

#include "tuners/maps/sparse_pattern.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace tunefleet::tuners {
namespace {

at::Tensor on_device(const std::vector<int32_t>& numbers, const at::Device& device) {
  const auto* data = numbers.data();
  return at::from_blob(const_cast<int32_t*>(data), {static_cast<int64_t>(numbers.size())}, at::kInt)
      .to(device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

SparsePattern::SparsePattern(int64_t rows, int64_t cols, const std::vector<int64_t>& entry_rows,
                             const std::vector<int64_t>& entry_cols, const at::Device& device,
                             const std::vector<int64_t>& numbers) {
  for (size_t i = 0; i < entry_rows.size(); ++i) {
    const int64_t row = entry_rows[i], col = entry_cols.at(i);
    if (row >= 0 && row < rows && col >= 0 && col < cols) continue;
    throw std::invalid_argument(
        c10::str("sparse entry lies outside of [", rows, ", ", cols, "]: (", row, ", ", col, ")"));
  }
  std::vector<int64_t> own = numbers;
  if (own.empty()) {
    own.resize(entry_rows.size());
    std::iota(own.begin(), own.end(), 0);
  }
  if (own.size() != entry_rows.size()) {
    throw std::invalid_argument(c10::str("one number for each sparse entry: ", own.size(),
                                         " numbers, ", entry_rows.size(), " entries"));
  }
  values_ = own.empty() ? 0 : *std::max_element(own.begin(), own.end()) + 1;
  by_row_ = sorted(rows, cols, entry_rows, entry_cols, own);
  by_col_ = sorted(cols, rows, entry_cols, entry_rows, own);
  by_col_.row_of = {};  // only the rows' own are asked for
  if (!device.is_cpu()) places_ = places_on(device);
}

SparsePattern::Places SparsePattern::places_on(const at::Device& device) const {
  return {.row = on_device(by_row_.row_of, device),
          .col = on_device(by_row_.columns, device),
          .number = on_device(by_row_.numbers, device)};
}

SparsePattern::Rows SparsePattern::sorted(int64_t rows, int64_t cols,
                                          const std::vector<int64_t>& entry_rows,
                                          const std::vector<int64_t>& entry_cols,
                                          const std::vector<int64_t>& numbers) {
  const size_t entries = entry_rows.size();
  Rows result{.rows = rows, .cols = cols, .starts = {}, .columns = {}, .numbers = {}, .row_of = {}};
  result.starts.assign(static_cast<size_t>(rows) + 1, 0);
  for (const int64_t row : entry_rows) ++result.starts[static_cast<size_t>(row) + 1];
  for (size_t r = 1; r < result.starts.size(); ++r) result.starts[r] += result.starts[r - 1];
  for (auto* each : {&result.columns, &result.numbers, &result.row_of}) each->resize(entries);
  auto next = result.starts;
  for (size_t i = 0; i < entries; ++i) {
    const auto place = static_cast<size_t>(next[static_cast<size_t>(entry_rows[i])]++);
    result.columns[place] = static_cast<int32_t>(entry_cols[i]);
    result.numbers[place] = static_cast<int32_t>(numbers[i]);
    result.row_of[place] = static_cast<int32_t>(entry_rows[i]);
  }
  return result;
}

loops::SparseRows SparsePattern::view(const Rows& matrix) {
  return {.rows = matrix.rows,
          .cols = matrix.cols,
          .starts = matrix.starts.data(),
          .columns = matrix.columns.data(),
          .numbers = matrix.numbers.data(),
          .row_of = matrix.row_of.data()};
}

at::Tensor SparsePattern::dense(const at::Tensor& values) const {
  const Places at = places();
  const auto of_entries = values.to(at::kFloat).index_select(0, at.number);
  const auto zero = at::zeros({rows() * cols()}, of_entries.options());
  return zero.index_add(0, at.row.mul(cols()).add_(at.col), of_entries).view({rows(), cols()});
}

at::Tensor SparsePattern::transposed_product(const at::Tensor& g, const at::Tensor& values) const {
  const Places at = places();
  const auto factors = values.index_select(0, at.number);
  const auto terms = g.to(at::kFloat).index_select(1, at.row).mul(factors);
  return at::zeros({g.size(0), cols()}, terms.options()).index_add(1, at.col, terms);
}

}  // namespace tunefleet::tuners

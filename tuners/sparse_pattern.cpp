#include "tuners/sparse_pattern.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <stdexcept>

#include "tuners/tile_loops.h"

namespace tunefleet::tuners {
namespace {

at::Tensor plain(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

}  // namespace

SparsePattern::SparsePattern(int64_t rows, int64_t cols, const std::vector<int64_t>& entry_rows,
                             const std::vector<int64_t>& entry_cols, const at::Device& device) {
  for (size_t i = 0; i < entry_rows.size(); ++i) {
    const int64_t row = entry_rows[i], col = entry_cols.at(i);
    if (row >= 0 && row < rows && col >= 0 && col < cols) continue;
    throw std::invalid_argument(
        c10::str("sparse entry lies outside of [", rows, ", ", cols, "]: (", row, ", ", col, ")"));
  }
  by_row_ = sorted(rows, cols, entry_rows, entry_cols);
  by_col_ = sorted(cols, rows, entry_cols, entry_rows);
  if (device.is_cpu()) return;
  const auto [row, col] = places();
  row_ = row.to(device);
  col_ = col.to(device);
}

std::pair<at::Tensor, at::Tensor> SparsePattern::places() const {
  at::Tensor row = at::empty({entries()}, at::kLong), col = at::empty({entries()}, at::kLong);
  auto* rows = row.mutable_data_ptr<int64_t>();
  auto* cols = col.mutable_data_ptr<int64_t>();
  for (size_t r = 0; r + 1 < by_row_.starts.size(); ++r) {
    for (auto e = static_cast<size_t>(by_row_.starts[r]);
         e < static_cast<size_t>(by_row_.starts[r + 1]); ++e) {
      rows[by_row_.order[e]] = static_cast<int64_t>(r);
      cols[by_row_.order[e]] = by_row_.columns[e];
    }
  }
  return {row, col};
}

SparsePattern::Rows SparsePattern::sorted(int64_t rows, int64_t cols,
                                          const std::vector<int64_t>& entry_rows,
                                          const std::vector<int64_t>& entry_cols) {
  Rows result{.rows = rows, .cols = cols, .starts = {}, .columns = {}, .order = {}};
  result.starts.assign(static_cast<size_t>(rows) + 1, 0);
  for (const int64_t row : entry_rows) ++result.starts[static_cast<size_t>(row) + 1];
  for (size_t r = 1; r < result.starts.size(); ++r) result.starts[r] += result.starts[r - 1];
  result.columns.resize(entry_rows.size());
  result.order.resize(entry_rows.size());
  auto next = result.starts;
  for (size_t i = 0; i < entry_rows.size(); ++i) {
    const auto place = static_cast<size_t>(next[static_cast<size_t>(entry_rows[i])]++);
    result.columns[place] = static_cast<int32_t>(entry_cols[i]);
    result.order[place] = static_cast<int32_t>(i);
  }
  return result;
}

namespace {

template <typename Rows>
loops::SparseRows view(const Rows& matrix) {
  return {.rows = matrix.rows,
          .cols = matrix.cols,
          .starts = matrix.starts.data(),
          .columns = matrix.columns.data(),
          .order = matrix.order.data()};
}

/// Calls work(first token, last token, scratch) on every thread's share of the tiles.
template <typename Work>
void over_tiles(int64_t tokens, int64_t width, const Work& work) {
  const int64_t tiles = (tokens + loops::kTile - 1) / loops::kTile;
  at::parallel_for(0, tiles, 1, [&](int64_t from, int64_t to) {
    std::vector<float> scratch(static_cast<size_t>(width * loops::kTile));
    work(from * loops::kTile, std::min(to * loops::kTile, tokens), scratch.data());
  });
}

}  // namespace

at::Tensor SparsePattern::run(const Rows& matrix, const at::Tensor& x, const at::Tensor& values) {
  const at::Tensor in = plain(x), factors = plain(values);
  at::Tensor y = at::empty({in.size(0), matrix.rows}, in.options());
  const auto rows = view(matrix);
  const float* from = in.const_data_ptr<float>();
  const float* value = factors.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  over_tiles(in.size(0), matrix.rows + matrix.cols,
             [&](int64_t first, int64_t last, float* scratch) {
               loops::sparse_product(rows, value, from, to, first, last, scratch);
             });
  return y;
}

at::Tensor SparsePattern::product(const at::Tensor& x, const at::Tensor& values) const {
  if (x.is_cpu()) return run(by_row_, x, values);
  const auto terms = x.to(at::kFloat).index_select(1, col_).mul(values);
  return at::zeros({x.size(0), rows()}, terms.options()).index_add_(1, row_, terms);
}

at::Tensor SparsePattern::transposed_product(const at::Tensor& g, const at::Tensor& values) const {
  if (g.is_cpu()) return run(by_col_, g, values);
  const auto terms = g.to(at::kFloat).index_select(1, row_).mul(values);
  return at::zeros({g.size(0), cols()}, terms.options()).index_add_(1, col_, terms);
}

at::Tensor SparsePattern::sampled_product(const at::Tensor& g, const at::Tensor& x) const {
  if (!g.is_cpu()) {
    const auto rows = g.to(at::kFloat).index_select(1, row_);
    return rows.mul_(x.to(at::kFloat).index_select(1, col_)).sum(0);
  }
  const at::Tensor left = plain(g), right = plain(x);
  at::Tensor sums = at::zeros({entries()}, left.options());
  float* total = sums.mutable_data_ptr<float>();
  const auto matrix = view(by_row_);
  // One part per thread, added up in order: the same digits every time.
  std::vector<std::vector<float>> parts(static_cast<size_t>(at::get_num_threads()));
  over_tiles(left.size(0), rows() + cols(), [&](int64_t first, int64_t last, float* scratch) {
    auto& part = parts[static_cast<size_t>(at::get_thread_num())];
    part.assign(static_cast<size_t>(entries()), 0.0F);
    loops::sampled_product(matrix, left.const_data_ptr<float>(), right.const_data_ptr<float>(),
                           part.data(), first, last, scratch);
  });
  for (const auto& part : parts) {
    for (size_t i = 0; i < part.size(); ++i) total[i] += part[i];
  }
  return sums;
}

at::Tensor SparsePattern::dense(const at::Tensor& values) const {
  const auto [row, col] = row_.defined() ? std::pair(row_, col_) : places();
  const auto flat = row.mul(cols()).add(col);
  const auto zero = at::zeros({rows() * cols()}, values.options().dtype(at::kFloat));
  return zero.index_add(0, flat, values.to(at::kFloat)).view({rows(), cols()});
}

}  // namespace tunefleet::tuners

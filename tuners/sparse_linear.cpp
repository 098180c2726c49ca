#include "tuners/sparse_linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_put.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/custom_function.h>

#include <stdexcept>
#include <utility>

#include "tuners/sparse_loops.h"

namespace tunefleet::tuners {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRowsOfAThread = 16;

SparseEntries::Order ordered(const int32_t* row, const int32_t* col, int64_t n, int64_t rows) {
  SparseEntries::Order order;
  order.first.assign(static_cast<size_t>(rows) + 1, 0);
  for (int64_t e = 0; e < n; ++e) ++order.first[static_cast<size_t>(row[e]) + 1];
  for (size_t i = 1; i < order.first.size(); ++i) order.first[i] += order.first[i - 1];
  order.other.resize(static_cast<size_t>(n));
  order.place.resize(static_cast<size_t>(n));
  std::vector<int32_t> next(order.first.begin(), order.first.end() - 1);
  for (int64_t e = 0; e < n; ++e) {
    const auto at = static_cast<size_t>(next[static_cast<size_t>(row[e])]++);
    order.other[at] = col[e];
    order.place[at] = static_cast<int32_t>(e);
  }
  return order;
}

void check_within(const int32_t* numbers, int64_t n, int64_t limit, const char* what) {
  for (int64_t e = 0; e < n; ++e) {
    if (numbers[e] >= 0 && numbers[e] < limit) continue;
    throw std::invalid_argument(
        c10::str("sparse index lies outside of the layer: ", what, " ", numbers[e], " of ", limit));
  }
}

/// How a pattern travels through autograd.
struct Holder : torch::CustomClassHolder {
  explicit Holder(std::shared_ptr<const SparseEntries> held) : pattern(std::move(held)) {}
  std::shared_ptr<const SparseEntries> pattern;
};

cpu::SparseRows rows_of(const SparseEntries::Order& order) {
  return {.rows = static_cast<int64_t>(order.first.size()) - 1,
          .first = order.first.data(),
          .col = order.other.data(),
          .place = order.place.data()};
}

/// [N, C] -> float32 [C, N].
at::Tensor transposed(const at::Tensor& x) { return x.to(at::kFloat).t().contiguous(); }

at::Tensor product(const SparseEntries::Order& order, const at::Tensor& values,
                   const at::Tensor& x_t) {
  const auto s = rows_of(order);
  at::Tensor y_t = at::empty({s.rows, x_t.size(1)}, at::kFloat);
  const auto* from = x_t.const_data_ptr<float>();
  auto* to = y_t.mutable_data_ptr<float>();
  at::parallel_for(0, s.rows, kRowsOfAThread, [&](int64_t begin, int64_t end) {
    cpu::sparse_product(s, values.const_data_ptr<float>(), from, to, x_t.size(1), begin, end);
  });
  return y_t.t().contiguous();
}

class SparseLinear : public torch::autograd::Function<SparseLinear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& values,
                            const c10::intrusive_ptr<Holder>& holder) {
    ctx->save_for_backward({x, values});
    ctx->saved_data["pattern"] = c10::IValue::make_capsule(holder);
    return product(holder->pattern->by_row(), values, transposed(x));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["pattern"].toCapsule());
    const SparseEntries& pattern = *holder->pattern;
    const at::Tensor dy_t = transposed(grads[0]);
    variable_list out(3);
    if (ctx->needs_input_grad(0)) {
      out[0] = product(pattern.by_column(), saved[1], dy_t).to(saved[0].scalar_type());
    }
    if (ctx->needs_input_grad(1)) {
      const at::Tensor x_t = transposed(saved[0]);
      out[1] = at::empty({pattern.size()}, at::kFloat);
      const auto rows = rows_of(pattern.by_row());
      auto* to = out[1].mutable_data_ptr<float>();
      at::parallel_for(0, rows.rows, kRowsOfAThread, [&](int64_t begin, int64_t end) {
        cpu::sampled_product(rows, dy_t.const_data_ptr<float>(), x_t.const_data_ptr<float>(), to,
                             dy_t.size(1), begin, end);
      });
    }
    return out;
  }
};

}  // namespace

SparseEntries::SparseEntries(const at::Tensor& indices, int64_t rows, int64_t cols) {
  const at::Tensor host = indices.to(at::kCPU, at::kInt).contiguous();
  const int64_t n = host.size(1);
  const auto* row = host.const_data_ptr<int32_t>();
  const auto* col = row + n;
  check_within(row, n, rows, "row");
  check_within(col, n, cols, "column");
  by_row_ = ordered(row, col, n, rows);
  by_column_ = ordered(col, row, n, cols);
  flat_ = indices[0].to(at::kLong).mul(cols).add(indices[1]);
}

at::Tensor sparse_linear(const at::Tensor& x, const at::Tensor& values,
                         const std::shared_ptr<const SparseEntries>& pattern) {
  if (x.is_cpu()) return SparseLinear::apply(x, values, c10::make_intrusive<Holder>(pattern));
  return x.to(at::kFloat).matmul(sparse_to_dense(values, *pattern).t());
}

at::Tensor sparse_to_dense(const at::Tensor& values, const SparseEntries& pattern) {
  return at::zeros({pattern.rows() * pattern.columns()}, values.options())
      .index_put({pattern.flat()}, values)
      .view({pattern.rows(), pattern.columns()});
}

}  // namespace tunefleet::tuners

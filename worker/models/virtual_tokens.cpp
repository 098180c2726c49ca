#include "worker/models/virtual_tokens.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <utility>

namespace tunefleet::models {
namespace {

at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device) {
  auto tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor.to(device);
}

}  // namespace

VirtualTokens VirtualTokens::before_each(const tuners::Boundaries& boundaries,
                                         const std::vector<int32_t>& positions, int64_t count,
                                         at::Device device) {
  VirtualTokens out{.count = count, .boundaries = {}, .rows = {}, .real = {}, .positions = {}};
  std::vector<int64_t> rows, real;
  auto longer = std::make_shared<tuners::Boundaries>(1, 0);
  for (size_t s = 0; s + 1 < boundaries.size(); ++s) {
    for (int64_t p = 0; p < count; ++p) {
      rows.push_back(p);
      out.positions.push_back(static_cast<int32_t>(p));
    }
    for (int32_t t = boundaries[s]; t < boundaries[s + 1]; ++t) {
      real.push_back(static_cast<int64_t>(rows.size()));
      rows.push_back(count + t);
      out.positions.push_back(positions[static_cast<size_t>(t)] + static_cast<int32_t>(count));
    }
    longer->push_back(static_cast<int32_t>(rows.size()));
  }
  out.boundaries = std::move(longer);
  out.rows = to_tensor(rows, device);
  out.real = to_tensor(real, device);
  return out;
}

at::Tensor VirtualTokens::with(const at::Tensor& virtual_rows, const at::Tensor& real_rows) const {
  return at::cat({virtual_rows.to(real_rows.scalar_type()), real_rows}).index_select(0, rows);
}

at::Tensor VirtualTokens::without(const at::Tensor& rows_of_both) const {
  return rows_of_both.index_select(0, real);
}

TokenBatch VirtualTokens::labelled(const TokenBatch& real_batch) const {
  TokenBatch longer;
  longer.boundaries = *boundaries;
  const auto on_cpu = rows.cpu();
  const auto* source = on_cpu.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < on_cpu.numel(); ++i) {
    const bool is_real = source[i] >= count;
    longer.labels.push_back(is_real ? real_batch.labels[static_cast<size_t>(source[i] - count)]
                                    : -100);
  }
  return longer;
}

at::Tensor VirtualTokens::token_keys(const at::Tensor& real_keys) const {
  if (!real_keys.defined()) return {};
  auto keys = at::empty({rows.size(0)}, at::kLong);
  auto* to = keys.mutable_data_ptr<int64_t>();
  const auto* from = real_keys.const_data_ptr<int64_t>();
  const auto at_row = rows.cpu();
  const auto* source = at_row.const_data_ptr<int64_t>();
  for (size_t s = 0; s + 1 < boundaries->size(); ++s) {
    const int64_t begin = (*boundaries)[s], end = (*boundaries)[s + 1];
    for (int64_t i = begin; i < end; ++i) {
      const bool is_real = source[i] >= count;
      const bool has_real = begin + count < end;
      const int64_t first = has_real ? from[source[begin + count] - count] : 0;
      to[i] = is_real ? from[source[i] - count] : (first | (int64_t{1} << 31)) + source[i];
    }
  }
  return keys;
}

}  // namespace tunefleet::models

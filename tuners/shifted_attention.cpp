#include "tuners/shifted_attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace tunefleet::tuners {
namespace {

/// x [N, heads, D] with the rows of heads first, first + 1, … in another order.
at::Tensor reorder(const at::Tensor& x, int64_t first, const at::Tensor& rows) {
  const auto moved = x.narrow(1, first, x.size(1) - first).index_select(0, rows);
  return first == 0 ? moved : at::cat({x.narrow(1, 0, first), moved}, 1);
}

}  // namespace

AttentionGroups AttentionGroups::make(const Boundaries& sequences, double ratio,
                                      at::Device device) {
  const int64_t n = sequences.back();
  auto rolled = at::empty({n}, at::kLong), back = at::empty({n}, at::kLong);
  auto* to = rolled.mutable_data_ptr<int64_t>();
  auto* from = back.mutable_data_ptr<int64_t>();
  auto groups = std::make_shared<Boundaries>(1, 0);
  for (size_t s = 0; s + 1 < sequences.size(); ++s) {
    const int32_t begin = sequences[s], end = sequences[s + 1], length = end - begin;
    auto group = static_cast<int32_t>(static_cast<double>(length) * ratio);
    if (group == 0) group = length;
    for (int32_t t = begin; t < end; t += group) groups->push_back(std::min(t + group, end));
    for (int32_t t = 0; t < length; ++t) {
      const int32_t source = begin + (t + group / 2) % length;
      to[begin + t] = source;
      from[source] = begin + t;
    }
  }
  return {.boundaries = std::move(groups), .rolled = rolled.to(device), .back = back.to(device)};
}

AttentionGroups AttentionGrouping::of(const std::shared_ptr<const Boundaries>& sequences,
                                      at::Device device) const {
  const std::lock_guard lock(mutex_);
  if (sequences_ != sequences || groups_.rolled.device() != device) {
    groups_ = AttentionGroups::make(*sequences, ratio_, device);
    sequences_ = sequences;
  }
  return groups_;
}

at::Tensor ShiftedSparseAttention::forward(const AttentionInput& input, const AttentionNext& next,
                                           const ForwardContext& context) const {
  if (!context.training) return next(input);
  const auto groups = grouping_->of(input.boundaries, input.q.device());
  const int64_t heads = input.q.size(1), per_key = heads / input.k.size(1), half = heads / 2;
  // Where both halves of the heads share a head of keys, each needs its own copy of it.
  const bool shared = half % per_key != 0;
  const auto keys = [&](const at::Tensor& x) {
    return reorder(shared ? x.repeat_interleave(per_key, 1) : x, shared ? half : half / per_key,
                   groups.rolled);
  };
  const auto out = next({.q = reorder(input.q, half, groups.rolled),
                         .k = keys(input.k),
                         .v = keys(input.v),
                         .boundaries = groups.boundaries});
  return reorder(out.view(input.q.sizes()), half, groups.back).view(out.sizes());
}

}  // namespace tunefleet::tuners

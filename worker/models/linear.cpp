#include "worker/models/linear.h"

#include <optional>
#include <utility>
#include <vector>

#include "worker/kernels/lora_linear.h"

namespace tunefleet::models {
namespace {

/// The tuners from number `first` on as low-rank updates, if that is all they are.
std::optional<std::vector<tuners::LowRankUpdate>> updates_from(const tuners::LinearSite& site,
                                                               size_t first) {
  std::vector<tuners::LowRankUpdate> updates;
  updates.reserve(site.tuners.size() - first);
  for (size_t i = first; i < site.tuners.size(); ++i) {
    auto update = site.tuners[i]->low_rank();
    if (!update) return std::nullopt;
    updates.push_back(*std::move(update));
  }
  return updates;
}

at::Tensor run_from(const tuners::LinearSite& site, size_t first, const at::Tensor& x,
                    const tuners::ForwardContext& context) {
  if (auto updates = updates_from(site, first)) {
    return kernels::lora_linear(x, site.weight.value(), site.bias.value(), *std::move(updates),
                                context);
  }
  const auto next = [&](const at::Tensor& input) {
    return run_from(site, first + 1, input, context);
  };
  return site.tuners[first]->forward(x, next, context);
}

}  // namespace

at::Tensor linear(const tuners::LinearSite& site, const at::Tensor& x,
                  const tuners::ForwardContext& context) {
  return run_from(site, 0, x, context);
}

}  // namespace tunefleet::models

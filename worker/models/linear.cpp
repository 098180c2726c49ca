#include "worker/models/linear.h"

#include <optional>
#include <utility>
#include <vector>

#include "worker/kernels/lora_linear.h"

namespace tunefleet::models {
namespace {

/// Tuners that one product does: low-rank updates, and additions to the weight.
struct FusedTuners {
  std::vector<tuners::LowRankUpdate> updates;
  at::Tensor weight;  ///< The base's with all additions.
};

/// The tuners from number `first` on, if all of them can be fused.
std::optional<FusedTuners> fused_from(const tuners::LinearSite& site, size_t first,
                                      const tuners::ForwardContext& context) {
  FusedTuners fused{.updates = {}, .weight = site.weight.value()};
  fused.updates.reserve(site.tuners.size() - first);
  for (size_t i = first; i < site.tuners.size(); ++i) {
    if (auto update = site.tuners[i]->low_rank()) {
      fused.updates.push_back(*std::move(update));
    } else if (auto addition = site.tuners[i]->weight_update(context)) {
      fused.weight = fused.weight + addition->to(fused.weight.scalar_type());
    } else {
      return std::nullopt;
    }
  }
  return fused;
}

at::Tensor run_from(const tuners::LinearSite& site, size_t first, const at::Tensor& x,
                    const tuners::ForwardContext& context) {
  if (auto fused = fused_from(site, first, context)) {
    return kernels::lora_linear(x, fused->weight, site.bias.value(), std::move(fused->updates),
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

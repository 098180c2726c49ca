#include "worker/models/linear.h"

#include <optional>
#include <utility>
#include <vector>

#include "worker/kernels/dora_linear.h"
#include "worker/kernels/lora_linear.h"

namespace tunefleet::models {
namespace {

using kernels::LoraLayer;

/// Whether a low-rank update and what is inside of it can be one fused kernel: DoRA only alone.
bool can_be_fused(const tuners::LowRankUpdate& update, size_t tuners) {
  return !update.magnitude.defined() || (tuners == 1 && update.more.empty());
}

/// The tuners from number `first` on as one product, if all of them can be fused: additions to the
/// weight, low-rank updates, and linear maps. A tuner that can be several decides by what it gives
/// first, in this order.
std::optional<LoraLayer> fused_from(const tuners::LinearSite& site, size_t first,
                                    const tuners::ForwardContext& context) {
  LoraLayer fused{.weight = site.weight.value(), .bias = site.bias.value(), .updates = {}};
  const size_t count = site.tuners.size() - first;
  fused.updates.reserve(count);
  for (size_t i = first; i < site.tuners.size(); ++i) {
    if (auto addition = site.tuners[i]->weight_update(context)) {
      fused.weight_updates.push_back(*std::move(addition));
    } else if (auto update = site.tuners[i]->low_rank()) {
      const bool plain = context.lora_kernels == tuners::Kernels::kPlain;
      if (plain || !can_be_fused(*update, count)) return std::nullopt;
      auto more = std::move(update->more);
      fused.updates.push_back(*std::move(update));
      for (auto& each : more) fused.updates.push_back(std::move(each));
    } else if (auto mapped = site.tuners[i]->mapped()) {
      fused.mapped.push_back(*std::move(mapped));
    } else {
      return std::nullopt;
    }
  }
  return fused;
}

bool is_dora(const LoraLayer& layer) {
  return layer.updates.size() == 1 && layer.updates.front().magnitude.defined();
}

at::Tensor run_fused(LoraLayer layer, const at::Tensor& x, const tuners::ForwardContext& context) {
  if (is_dora(layer))
    return kernels::dora_linear(x, layer.weight, layer.bias, layer.updates.front(), context);
  std::vector<LoraLayer> one;
  one.push_back(std::move(layer));
  return kernels::lora_linears(x, std::move(one), context).front();
}

at::Tensor run_from(const tuners::LinearSite& site, size_t first, const at::Tensor& x,
                    const tuners::ForwardContext& context) {
  if (auto fused = fused_from(site, first, context))
    return run_fused(*std::move(fused), x, context);
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

std::vector<at::Tensor> linears(const std::vector<const tuners::LinearSite*>& sites,
                                const at::Tensor& x, const tuners::ForwardContext& context) {
  std::vector<at::Tensor> outputs(sites.size());
  std::vector<LoraLayer> together;
  std::vector<size_t> places;
  for (size_t i = 0; i < sites.size(); ++i) {
    auto fused = fused_from(*sites[i], 0, context);
    if (!fused || is_dora(*fused)) {
      outputs[i] = fused ? run_fused(*std::move(fused), x, context) : linear(*sites[i], x, context);
      continue;
    }
    together.push_back(*std::move(fused));
    places.push_back(i);
  }
  if (together.empty()) return outputs;
  auto made = kernels::lora_linears(x, std::move(together), context);
  for (size_t i = 0; i < places.size(); ++i) outputs[places[i]] = std::move(made[i]);
  return outputs;
}

}  // namespace tunefleet::models

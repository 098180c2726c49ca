#include "tuners/merged_weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>

namespace tunefleet::tuners {
namespace {

/// A layer's weights in float32.
template <typename Site>
LayerWeights weights_of(const Site& site) {
  LayerWeights weights{.weight = site.weight.value().to(at::kFloat), .bias = {}};
  if constexpr (requires { site.bias; }) {
    if (site.bias.base.defined()) weights.bias = site.bias.value().to(at::kFloat);
  }
  return weights;
}

template <typename Part>
bool changes_bias(const Adapter& adapter, const Part& part) {
  LayerWeights weights = weights_of(*part.site);
  const at::Tensor before = weights.bias;
  adapter.merge_into(part, weights);
  return weights.bias.defined() && !at::equal(before, weights.bias);
}

template <typename Part>
const ParameterSlot* first_written(const Adapter& adapter, const std::vector<Part>& parts,
                                   const std::set<const ParameterSlot*>& slots) {
  for (const auto& part : parts) {
    if (slots.contains(&part.site->weight)) return &part.site->weight;
    if constexpr (requires { part.site->bias; }) {
      if (slots.contains(&part.site->bias) && changes_bias(adapter, part)) return &part.site->bias;
    }
  }
  return nullptr;
}

}  // namespace

const ParameterSlot* MergedWeights::written_to(const Adapter& adapter,
                                               const std::set<const ParameterSlot*>& slots) {
  const at::NoGradGuard no_grad;
  if (const auto* slot = first_written(adapter, adapter.linear_tuners(), slots)) return slot;
  if (const auto* slot = first_written(adapter, adapter.embedding_tuners(), slots)) return slot;
  return first_written(adapter, adapter.conv_tuners(), slots);
}

void MergedWeights::merge(const std::vector<const Adapter*>& adapters) {
  const at::NoGradGuard no_grad;
  merge_parts<SiteTuner>(adapters, &Adapter::linear_tuners);
  merge_parts<EmbeddingPart>(adapters, &Adapter::embedding_tuners);
  merge_parts<ConvPart>(adapters, &Adapter::conv_tuners);
}

/// Merges the parts at one kind of site.
template <typename Part>
void MergedWeights::merge_parts(const std::vector<const Adapter*>& adapters,
                                std::vector<Part> (Adapter::*parts)() const) {
  std::map<decltype(Part::site), LayerWeights> merged;
  for (const Adapter* adapter : adapters) {
    for (const auto& part : (adapter->*parts)()) {
      auto [place, is_new] = merged.try_emplace(part.site);
      if (is_new) place->second = weights_of(*part.site);
      adapter->merge_into(part, place->second);
    }
  }
  for (auto& [site, weights] : merged) set_weights(*site, weights);
}

template <typename Site>
void MergedWeights::set_weights(Site& site, const LayerWeights& weights) {
  set_merged(site.weight, weights.weight);
  if constexpr (requires { site.bias; }) {
    const LayerWeights before = weights_of(site);
    if (weights.bias.defined() && !at::equal(before.bias, weights.bias))
      set_merged(site.bias, weights.bias);
  }
}

void MergedWeights::set_merged(ParameterSlot& slot, const at::Tensor& value) {
  at::Tensor& place = slot.override_value.defined() ? slot.override_value.get() : slot.base;
  const at::Tensor merged = value.to(place.scalar_type());
  if (!slot.override_value.defined()) originals_[&slot] = slot.base;
  place = merged;
}

void MergedWeights::restore() {
  for (auto& [slot, original] : originals_) slot->base = original;
  originals_.clear();
}

const at::Tensor& MergedWeights::original(ParameterSlot& slot) const {
  const auto found = originals_.find(&slot);
  return found == originals_.end() ? slot.base : found->second;
}

}  // namespace tunefleet::tuners

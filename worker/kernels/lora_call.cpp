#include "worker/kernels/lora_call.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <utility>

#include "worker/kernels/dropout.h"

namespace tunefleet::kernels {

at::Tensor shared_a(const LoraCall& call, const variable_list& in, at::ScalarType dtype) {
  variable_list parts;
  for_updates(call, false,
              [&](const auto& update, size_t) { parts.push_back(in[update.a].to(dtype)); });
  if (parts.empty()) return {};
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

at::Tensor scaled_b(const LoraCall::Update& update, const at::Tensor& b, at::ScalarType dtype) {
  return update.scaling == 1.0 ? b.to(dtype) : b.mul(update.scaling).to(dtype);
}

at::Tensor whole_bias(const LoraCall::Layer& layer, const variable_list& in, at::ScalarType dtype) {
  at::Tensor bias = layer.bias ? in[layer.weight + 1] : at::Tensor();
  for (const auto& update : layer.updates) {
    if (!update.bias) continue;
    const auto own = in[update.a + 2].mul(update.scaling);
    bias = bias.defined() ? own.add(bias) : own;
  }
  return bias.defined() ? bias.to(dtype) : bias;
}

tuners::WeightMap::Tensors values_of(const LoraCall::WeightPart& part, const variable_list& in) {
  const auto first = in.begin() + static_cast<std::ptrdiff_t>(part.values);
  return {first, first + static_cast<std::ptrdiff_t>(part.count)};
}

at::Tensor whole_weight(const LoraCall::Layer& layer, const variable_list& in) {
  at::Tensor weight = in[layer.weight];
  for (const auto& part : layer.weight_parts)
    weight = part.map->added_to(weight, values_of(part, in));
  return weight;
}

bool keeps_weight(const LoraCall::Layer& layer) {
  return std::any_of(layer.weight_parts.begin(), layer.weight_parts.end(),
                     [](const auto& part) { return part.map->is_kept(); });
}

bool keeps_input(const LoraCall& call, const variable_list& in) {
  return std::any_of(call.layers.begin(), call.layers.end(), [&](const auto& layer) {
    return in[layer.weight].requires_grad() || !layer.updates.empty() || !layer.mapped.empty() ||
           !layer.weight_parts.empty();
  });
}

void add_layer(LoraCall& call, variable_list& others, LoraLayer layer,
               const tuners::ForwardContext& context) {
  const auto add = [&](at::Tensor tensor) {
    others.push_back(std::move(tensor));
    return call.inputs++;
  };
  LoraCall::Layer noted{.weight = add(std::move(layer.weight)), .bias = layer.bias.defined()};
  if (noted.bias) add(std::move(layer.bias));
  for (auto& update : layer.updates) {
    const size_t a = add(std::move(update.a));
    add(std::move(update.b));
    const bool bias = update.bias.defined();
    if (bias) add(std::move(update.bias));
    noted.updates.push_back({.scaling = update.scaling,
                             .dropout = context.training ? update.dropout : 0.0,
                             .key = dropout_key(context, update.stream),
                             .a = a,
                             .bias = bias});
  }
  for (auto& each : layer.mapped) {
    const size_t values = add(std::move(each.values));
    noted.mapped.push_back({.values = values, .map = std::move(each.map)});
  }
  for (auto& each : layer.weight_updates) {
    noted.weight_parts.push_back(
        {.values = call.inputs, .count = each.values.size(), .map = std::move(each.map)});
    for (auto& value : each.values) add(std::move(value));
  }
  call.layers.push_back(std::move(noted));
}

}  // namespace tunefleet::kernels

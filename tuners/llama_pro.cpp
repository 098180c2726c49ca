#include "tuners/llama_pro.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <utility>

#include "tuners/saved_modules.h"

namespace tunefleet::tuners {
namespace {

Status check_numbers(const LlamaProOptions& options, int64_t layers) {
  if (layers % options.num_new_blocks != 0) {
    return fail(ErrorCode::kInvalidArgument,
                c10::str("llamapro needs a num_new_blocks that divides the number of layers: ",
                         options.num_new_blocks, ", ", layers, " layers"));
  }
  if (*options.num_groups <= layers) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str("llamapro cannot make more groups than there are layers: num_groups ",
                       *options.num_groups, ", ", layers, " layers"));
}

/// Whether the layer's output goes through this parameter alone, by either of its two ways.
bool ends_a_branch(const std::string& key) {
  return key.find(".o_proj.") != std::string::npos || key.find(".down_proj.") != std::string::npos;
}

/// ".mlp.down_proj.weight" of "model.layers.3.mlp.down_proj.weight", whatever its number is.
std::string inside_layer(const std::string& list, const std::string& path) {
  TORCH_CHECK(path.starts_with(list + "."), "not a parameter of a layer of ", list, ": ", path);
  return path.substr(path.find('.', list.size() + 1));
}

}  // namespace

Result<std::unique_ptr<Adapter>> LlamaProAdapter::make(const TunerOptions& options,
                                                       const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  LayerList* list = request.base.layer_list();
  if (list == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                "llamapro needs a model with a list of layers, this one has none: " +
                    request.base.name_or_path());
  }
  auto resolved = options.as<LlamaProOptions>();
  if (!resolved.num_groups) resolved.num_groups = resolved.num_new_blocks;
  if (!resolved.model_type) resolved.model_type = "llama";
  if (auto status = check_numbers(resolved, list->size()); !status) return fail(status.error());
  const int64_t stride = list->size() / *resolved.num_groups;
  std::unique_ptr<LlamaProAdapter> adapter(new LlamaProAdapter(resolved, request.name));
  for (int64_t i = stride - 1; i < list->size(); i += stride) adapter->add_layer(*list, i);
  return adapter;
}

void LlamaProAdapter::add_layer(LayerList& list, int64_t after) {
  const at::NoGradGuard no_grad;
  const auto number = static_cast<size_t>(after) + 1 + layers_.size();
  const std::string place = c10::str(list.path(), ".", number);
  auto block = list.copy(after);
  for (ParameterSlot* slot : block->parameters()) {
    const std::string rest = inside_layer(list.path(), slot->path);
    const at::Tensor value = std::exchange(slot->base, slot->base.detach());
    NewParameter parameter{.slot = slot,
                           .key = place + rest,
                           .path = c10::str(place, ".llamapro_", name_, rest),
                           .value = value.set_requires_grad(true)};
    if (ends_a_branch(parameter.key)) parameter.value.zero_();
    parameters_.push_back(std::move(parameter));
  }
  layers_.push_back({.after = after, .block = std::move(block)});
}

std::vector<AdapterTensor> LlamaProAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& parameter : parameters_) {
    tensors.push_back({.key = parameter.key,
                       .path = parameter.path,
                       .tensor = parameter.value,
                       .decay = has_weight_decay(parameter.key, parameter.value)});
  }
  return tensors;
}

std::vector<LayerList::Insertion> LlamaProAdapter::insertions() const {
  std::vector<LayerList::Insertion> insertions;
  for (const auto& layer : layers_) {
    if (layer.block) insertions.push_back({.after = layer.after, .block = layer.block.get()});
  }
  return insertions;
}

std::vector<ParameterOverride> LlamaProAdapter::overrides() const {
  std::vector<ParameterOverride> overrides;
  for (const auto& parameter : parameters_)
    overrides.push_back({.slot = parameter.slot, .value = parameter.value});
  return overrides;
}

std::vector<std::unique_ptr<BlockCopy>> LlamaProAdapter::release_blocks() {
  std::vector<std::unique_ptr<BlockCopy>> blocks;
  for (auto& layer : layers_) blocks.push_back(std::move(layer.block));
  return blocks;
}

}  // namespace tunefleet::tuners

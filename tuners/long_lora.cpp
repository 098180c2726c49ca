#include "tuners/long_lora.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "tuners/config/python_regex.h"
#include "tuners/config/target_match.h"
#include "tuners/lora_adapter.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {
namespace {

/// Whether embedder_and_normalizer selects the parameter.
Result<bool> selects(const ModuleNames& names, const std::string& path) {
  if (!names.regex) {
    return std::any_of(names.names.begin(), names.names.end(),
                       [&](const auto& part) { return path.find(part) != std::string::npos; });
  }
  const auto regex = PythonRegex::compile(*names.regex);
  if (!regex) return fail(regex.error());
  return regex->fullmatch(path);
}

Error nothing_selected(const ModuleNames& names, BaseModel& base) {
  std::vector<std::string> paths;
  for (const ParameterSlot* slot : base.parameters()) paths.push_back(slot->path);
  const std::string asked = names.regex ? *names.regex : c10::Join(", ", names.names);
  return {ErrorCode::kInvalidArgument,
          c10::str("embedder_and_normalizer selects no parameter; nearest are ",
                   c10::Join(", ", nearest_names(asked, paths, 3)), ": \"", asked, "\"")};
}

}  // namespace

Result<std::unique_ptr<Adapter>> LongLoraAdapter::make(const TunerOptions& options,
                                                       const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  if (request.base.attention_sites().empty()) {
    return fail(
        ErrorCode::kInvalidArgument,
        "longlora needs a model with attention, this one has none: " + request.base.name_or_path());
  }
  auto own = options.as<LongLoraOptions>();
  auto lora = LoraAdapter::make(static_cast<const LoraOptions&>(own), request);
  if (!lora) return fail(lora.error());
  static_cast<LoraOptions&>(own) = (*lora)->options().as<LoraOptions>();
  if (!own.model_type && request.base.model_type() == "llama") own.model_type = "llama";
  std::unique_ptr<LongLoraAdapter> adapter(new LongLoraAdapter(own, *std::move(lora)));
  if (auto status = adapter->copy_parameters(request.base); !status) return fail(status.error());
  adapter->replace_attention(request.base);
  return adapter;
}

Status LongLoraAdapter::copy_parameters(BaseModel& base) {
  const at::NoGradGuard no_grad;
  const auto& names = options_.as<LongLoraOptions>().embedder_and_normalizer;
  if (names.empty()) return {};
  std::set<const ParameterSlot*> taken;  // by LoRA's modules_to_save and biases
  for (const auto& replaced : lora_->overrides()) taken.insert(replaced.slot);
  std::map<const void*, size_t> copied;  // storage -> its copy; SIZE_MAX: not selected
  bool any = false;
  for (ParameterSlot* slot : base.parameters()) {
    if (!slot->base.defined()) continue;
    const void* storage = slot->base.const_data_ptr();
    if (const auto tied = copied.find(storage); tied != copied.end()) {
      if (tied->second != SIZE_MAX && !taken.contains(slot))
        copies_[tied->second].slots.push_back(slot);
      continue;
    }
    const auto selected = selects(names, slot->path);
    if (!selected) return fail(selected.error());
    any = any || *selected;
    const bool copies = *selected && !taken.contains(slot);
    copied.emplace(storage, copies ? copies_.size() : SIZE_MAX);
    if (!copies) continue;
    auto value = slot->base.detach().clone(at::MemoryFormat::Contiguous).set_requires_grad(true);
    copies_.push_back({.slots = {slot}, .value = std::move(value)});
  }
  if (!any) return fail(nothing_selected(names, base));
  return {};
}

void LongLoraAdapter::replace_attention(BaseModel& base) {
  const auto grouping =
      std::make_shared<const AttentionGrouping>(options_.as<LongLoraOptions>().group_size_ratio);
  for (AttentionSite* site : base.attention_sites()) {
    attention_.push_back(
        {.site = site, .tuner = std::make_unique<ShiftedSparseAttention>(grouping)});
  }
}

std::vector<AdapterTensor> LongLoraAdapter::tensors() const {
  auto tensors = lora_->tensors();
  const double ratio = options_.as<LongLoraOptions>().lorap_lr_ratio.value_or(1.0);
  for (const auto& copy : copies_) {
    const std::string& path = copy.slots.front()->path;
    const size_t dot = path.rfind('.');
    tensors.push_back(
        {.key = path,
         .path = c10::str(path.substr(0, dot), ".longlora_", name(), path.substr(dot)),
         .tensor = copy.value,
         .decay = has_weight_decay(path, copy.value),
         .lr_scale = copy.value.dim() == 1 ? ratio : 1.0});
  }
  return tensors;
}

std::vector<AttentionPart> LongLoraAdapter::attention_tuners() const {
  std::vector<AttentionPart> parts;
  for (const auto& each : attention_)
    parts.push_back({.site = each.site, .tuner = each.tuner.get()});
  return parts;
}

std::vector<ParameterOverride> LongLoraAdapter::overrides() const {
  auto overrides = lora_->overrides();
  for (const auto& copy : copies_) {
    for (ParameterSlot* slot : copy.slots) overrides.push_back({.slot = slot, .value = copy.value});
  }
  return overrides;
}

}  // namespace tunefleet::tuners

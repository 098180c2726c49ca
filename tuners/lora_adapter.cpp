#include "tuners/lora_adapter.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <unordered_set>

#include "tuners/config/lora_json.h"

namespace tunefleet::tuners {
namespace {

at::ScalarType lora_dtype(const LoraOptions& options) {
  if (options.lora_dtype == "bfloat16") return at::kBFloat16;
  if (options.lora_dtype == "float16") return at::kHalf;
  return at::kFloat;
}

/// What the file is to say: names instead of "all linear layers" and of the model type's default.
LoraOptions resolved(LoraOptions options, const std::vector<std::string>& targets,
                     const ModelModules& model, const BaseModel& base) {
  TargetModules& named = options.target_modules;
  if (!named.regex && (named.all_linear || named.unset())) {
    named.names = minimal_names(targets, model);
    named.all_linear = false;
  }
  if (!options.base_model_name_or_path)
    options.base_model_name_or_path.emplace(base.name_or_path());
  return options;
}

Status check_rank(const LoraOptions& options, const LinearSite& site) {
  const int64_t r = rank_of(options, site.path);
  const int64_t limit = std::min(site.in_features(), site.out_features());
  if (r <= limit) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      c10::str("LoRA rank is larger than the layer, lower it (rank_pattern does so for single "
               "modules): r ",
               r, ", ", site.path, " is [", site.out_features(), ", ", site.in_features(), "]"));
}

}  // namespace

Result<std::unique_ptr<Adapter>> LoraAdapter::make(const LoraOptions& options, BaseModel& base,
                                                   const std::string& name, uint64_t seed,
                                                   bool fresh) {
  if (auto status = validate(options); !status) return fail(status.error());
  const ModelModules model = model_modules(base);
  const auto targets = match_targets(options, model);
  if (!targets) return fail(targets.error());
  std::unique_ptr<LoraAdapter> adapter(
      new LoraAdapter(name, resolved(options, *targets, model, base)));
  if (auto status = adapter->add_layers(base, *targets, seed, fresh); !status)
    return fail(status.error());
  if (auto status = adapter->add_saved(base, *targets); !status) return fail(status.error());
  return adapter;
}

Status LoraAdapter::add_layers(BaseModel& base, const std::vector<std::string>& targets,
                               uint64_t seed, bool fresh) {
  const std::unordered_set<std::string> chosen(targets.begin(), targets.end());
  for (LinearSite* site : base.linear_sites()) {
    if (!chosen.contains(site->path)) continue;
    if (fresh) {
      if (auto status = check_rank(lora(), *site); !status) return status;
    }
    LoraLinear::Settings settings{.r = rank_of(lora(), site->path),
                                  .scaling = scaling_of(lora(), site->path),
                                  .dropout = lora().lora_dropout,
                                  .init = lora().init_lora_weights,
                                  .dtype = lora_dtype(lora())};
    layers_.emplace_back(site,
                         std::make_unique<LoraLinear>(*site, name_, std::move(settings), seed));
  }
  return {};
}

Status LoraAdapter::add_saved(BaseModel& base, const std::vector<std::string>& targets) {
  auto saved = copy_saved_modules(base, lora().modules_to_save);
  if (!saved) return fail(saved.error());
  const std::unordered_set<std::string> chosen(targets.begin(), targets.end());
  for (const auto& parameter : *saved) {
    if (!chosen.contains(parameter.module)) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("a module cannot be both in target_modules and in modules_to_save: ",
                         parameter.module));
  }
  saved_ = *std::move(saved);
  name_saved_modules();
  biases_ = copy_biases(base, lora().bias, targets, saved_);
  return {};
}

/// Files name modules: PEFT does not know the words that stand for a whole kind.
void LoraAdapter::name_saved_modules() {
  auto& names = std::get<LoraOptions>(options_).modules_to_save;
  const bool has_kind = std::any_of(names.begin(), names.end(), [](const auto& name) {
    return name == "all-norm" || name == "all-embedding";
  });
  if (!has_kind) return;
  names.clear();
  for (const auto& saved : saved_) {
    if (names.empty() || names.back() != saved.module) names.push_back(saved.module);
  }
}

std::string LoraAdapter::config_text(FileLayout layout) const {
  return layout == FileLayout::kSwift ? swift_lora_config(lora()) : peft_lora_config(lora());
}

void LoraAdapter::append_layer(std::vector<AdapterTensor>& tensors, const LinearSite& site,
                               const LoraLinear& layer) const {
  for (const bool is_b : {false, true}) {
    const std::string stem = site.path + (is_b ? ".lora_B." : ".lora_A.");
    tensors.push_back({.key = stem + "weight",
                       .path = stem + name_ + ".weight",
                       .tensor = is_b ? layer.b() : layer.a(),
                       .decay = true,
                       .lr_scale = is_b ? lora().lorap_lr_ratio.value_or(1.0) : 1.0});
  }
}

AdapterTensor LoraAdapter::saved_tensor(const SavedParameter& saved, bool is_bias) const {
  const bool is_target = std::any_of(layers_.begin(), layers_.end(), [&](const auto& layer) {
    return layer.first->path == saved.module;
  });
  // PEFT has a target's own parameters one level down, and a saved module's copy under the
  // adapter's name.
  const std::string bias_path = saved.module + (is_target ? ".base_layer." : ".") + saved.name;
  const bool vector = saved.copy.dim() == 1;
  return {.key = is_bias ? bias_path : saved.slot->path,
          .path = is_bias ? bias_path
                          : c10::str(saved.module, ".modules_to_save.", name_, ".", saved.name),
          .tensor = saved.copy,
          .decay = has_weight_decay(saved.slot->path, saved.copy),
          .lr_scale = vector ? lora().lorap_lr_ratio.value_or(1.0) : 1.0};
}

std::vector<AdapterTensor> LoraAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& [site, layer] : layers_) append_layer(tensors, *site, *layer);
  for (const auto& saved : saved_) tensors.push_back(saved_tensor(saved, false));
  for (const auto& bias : biases_) tensors.push_back(saved_tensor(bias, true));
  return tensors;
}

std::vector<SiteTuner> LoraAdapter::linear_tuners() const {
  std::vector<SiteTuner> tuners;
  for (const auto& [site, layer] : layers_) tuners.push_back({.site = site, .tuner = layer.get()});
  return tuners;
}

std::vector<ParameterOverride> LoraAdapter::overrides() const {
  std::vector<ParameterOverride> overrides;
  for (const auto* list : {&saved_, &biases_}) {
    for (const auto& saved : *list) overrides.push_back({.slot = saved.slot, .value = saved.copy});
  }
  return overrides;
}

at::Tensor LoraAdapter::delta_weight(const SiteTuner& tuner) const {
  return static_cast<const LoraLinear*>(tuner.tuner)->delta_weight();
}

}  // namespace tunefleet::tuners

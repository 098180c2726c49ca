#include "tuners/saved_modules.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace tunefleet::tuners {
namespace {

std::pair<std::string, std::string> split_parameter(const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

SavedParameter copy_of(ParameterSlot* slot) {
  const at::NoGradGuard no_grad;
  auto [module, name] = split_parameter(slot->path);
  at::Tensor copy = slot->base.detach().clone(at::MemoryFormat::Contiguous).set_requires_grad(true);
  return {
      .slot = slot, .module = std::move(module), .name = std::move(name), .copy = std::move(copy)};
}

/// Whether `module` or one of its parents ends with `name`.
bool selects(const std::string& name, const std::string& module) {
  for (size_t end = module.size(); end != std::string::npos && end > 0;
       end = module.rfind('.', end - 1)) {
    if (std::string_view(module).substr(0, end).ends_with(name)) return true;
  }
  return false;
}

class Selector {
 public:
  explicit Selector(BaseModel& base) {
    for (const LinearSite* site : base.linear_sites()) linear_.insert(site->path);
  }
  bool operator()(const std::string& name, const std::string& module,
                  const at::Tensor& value) const {
    const bool is_linear = linear_.contains(module);
    if (name == "all-norm") return !is_linear && value.dim() == 1;
    if (name == "all-embedding") return !is_linear && value.dim() == 2;
    return selects(name, module);
  }

 private:
  std::unordered_set<std::string> linear_;
};

}  // namespace

ModelModules model_modules(BaseModel& base) {
  ModelModules model;
  std::vector<std::string> paths;
  for (const ParameterSlot* slot : base.parameters()) {
    if (slot->base.defined()) paths.push_back(slot->path);
  }
  model.modules = modules_of_parameters(paths);
  for (const LinearSite* site : base.linear_sites()) model.linear.push_back(site->path);
  for (const EmbeddingSite* site : base.embedding_sites()) model.embeddings.push_back(site->path);
  for (const ConvSite* site : base.conv_sites()) model.convolutions.push_back(site->path);
  model.output_embedding = base.output_embedding();
  model.model_type = base.model_type();
  return model;
}

Result<std::vector<SavedParameter>> copy_saved_modules(BaseModel& base,
                                                       const std::vector<std::string>& names) {
  std::vector<SavedParameter> saved;
  if (names.empty()) return saved;
  const Selector selector(base);
  std::unordered_set<std::string> useful;
  for (ParameterSlot* slot : base.parameters()) {
    if (!slot->base.defined()) continue;
    const std::string module = split_parameter(slot->path).first;
    bool wanted = false;
    for (const auto& name : names) {
      if (!selector(name, module, slot->base)) continue;
      wanted = true;
      useful.insert(name);
    }
    if (wanted) saved.push_back(copy_of(slot));
  }
  for (const auto& name : names) {
    if (useful.contains(name)) continue;
    const auto near = nearest_names(name, model_modules(base).modules, 3);
    return fail(ErrorCode::kInvalidArgument,
                c10::str("modules_to_save names no module; nearest names ", c10::Join(", ", near),
                         ": \"", name, "\""));
  }
  return saved;
}

std::vector<SavedParameter> copy_biases(BaseModel& base, const std::string& which,
                                        const std::vector<std::string>& targets,
                                        const std::vector<SavedParameter>& taken) {
  std::vector<SavedParameter> saved;
  if (which == "none") return saved;
  const bool all = which == "all";
  const std::unordered_set<std::string> chosen(targets.begin(), targets.end());
  for (ParameterSlot* slot : base.parameters()) {
    const auto [module, name] = split_parameter(slot->path);
    if (name != "bias" || !slot->base.defined()) continue;
    if (!all && !chosen.contains(module)) continue;
    const bool trains_already = std::any_of(taken.begin(), taken.end(),
                                            [&](const auto& other) { return other.slot == slot; });
    if (!trains_already) saved.push_back(copy_of(slot));
  }
  return saved;
}

Result<SavedParts> SavedParts::make(BaseModel& base, const ModuleSelection& selection,
                                    const std::vector<std::string>& targets) {
  auto saved = copy_saved_modules(base, selection.modules_to_save);
  if (!saved) return fail(saved.error());
  const std::unordered_set<std::string> chosen(targets.begin(), targets.end());
  for (const auto& parameter : *saved) {
    if (!chosen.contains(parameter.module)) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("a module cannot be both in target_modules and in modules_to_save: ",
                         parameter.module));
  }
  SavedParts parts;
  parts.saved_ = *std::move(saved);
  parts.biases_ = copy_biases(base, selection.bias, targets, parts.saved_);
  parts.targets_ = targets;
  return parts;
}

std::vector<AdapterTensor> SavedParts::tensors(const std::string& adapter_name) const {
  std::vector<AdapterTensor> tensors;
  for (const auto& saved : saved_) {
    tensors.push_back(
        {.key = saved.slot->path,
         .path = c10::str(saved.module, ".modules_to_save.", adapter_name, ".", saved.name),
         .tensor = saved.copy,
         .decay = has_weight_decay(saved.slot->path, saved.copy)});
  }
  const std::unordered_set<std::string> targets(targets_.begin(), targets_.end());
  for (const auto& bias : biases_) {
    // PEFT has a target's own parameters one level down.
    const std::string path =
        bias.module + (targets.contains(bias.module) ? ".base_layer." : ".") + bias.name;
    tensors.push_back({.key = path, .path = path, .tensor = bias.copy, .decay = false});
  }
  return tensors;
}

std::vector<ParameterOverride> SavedParts::overrides() const {
  std::vector<ParameterOverride> overrides;
  for (const auto* list : {&saved_, &biases_}) {
    for (const auto& saved : *list) overrides.push_back({.slot = saved.slot, .value = saved.copy});
  }
  return overrides;
}

std::vector<std::string> SavedParts::module_names() const {
  std::vector<std::string> names;
  for (const auto& saved : saved_) {
    if (names.empty() || names.back() != saved.module) names.push_back(saved.module);
  }
  return names;
}

bool has_weight_decay(const std::string& path, const at::Tensor& value) {
  return value.dim() >= 2 && !path.ends_with(".bias") && path.find("norm") == std::string::npos;
}

}  // namespace tunefleet::tuners

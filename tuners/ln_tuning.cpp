#include "tuners/ln_tuning.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "tuners/config/resolve.h"
#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

bool is_within(const std::string& parameter, const std::string& module) {
  return parameter.size() > module.size() && parameter[module.size()] == '.' &&
         parameter.starts_with(module);
}

/// Parameters of layers, which take no vector of another dtype than their input's.
std::unordered_set<const ParameterSlot*> layer_slots(BaseModel& base) {
  std::unordered_set<const ParameterSlot*> slots;
  const auto add = [&](const auto& sites) {
    for (const auto* site : sites) slots.insert({&site->weight, &site->bias});
  };
  add(base.linear_sites());
  add(base.conv_sites());
  return slots;
}

/// The parameters of `targets`, each as part of the outermost one that holds it.
std::vector<SavedParameter> copies_of(BaseModel& base, const std::vector<std::string>& targets) {
  const at::NoGradGuard no_grad;
  const auto of_layers = layer_slots(base);
  std::vector<SavedParameter> copies;
  for (ParameterSlot* slot : base.parameters()) {
    const auto target = std::find_if(targets.begin(), targets.end(), [&](const auto& module) {
      return is_within(slot->path, module);
    });
    if (target == targets.end() || !slot->base.defined()) continue;
    const bool is_norm = slot->base.dim() == 1 && !of_layers.contains(slot);
    const auto dtype = is_norm ? at::kFloat : slot->base.scalar_type();
    copies.push_back({.slot = slot,
                      .module = *target,
                      .name = slot->path.substr(target->size() + 1),
                      .copy = slot->base.detach()
                                  .to(dtype)
                                  .clone(at::MemoryFormat::Contiguous)
                                  .set_requires_grad(true)});
  }
  return copies;
}

}  // namespace

Result<std::unique_ptr<Adapter>> LnTuningAdapter::make(const TunerOptions& options,
                                                       const AdapterRequest& request) {
  const TunerOptions own =
      with_ln_tuning_defaults(options.as<LnTuningOptions>(), request.base.model_type());
  if (auto status = check_options(own); !status) return fail(status.error());
  const ModelModules model = model_modules(request.base);
  const ModuleSelection selection = selection_of(own);
  const auto targets = match_targets(selection, model, {.linear = true, .any = true});
  if (!targets) return fail(targets.error());
  auto saved = SavedParts::make(request.base, selection, *targets);
  if (!saved) return fail(saved.error());
  auto resolved_options =
      resolved(own, *targets, saved->module_names(), model, request.base.name_or_path());
  return std::unique_ptr<Adapter>(new LnTuningAdapter(std::move(resolved_options), request.name,
                                                      copies_of(request.base, *targets),
                                                      *std::move(saved)));
}

std::vector<AdapterTensor> LnTuningAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& [slot, module, name, copy] : copies_) {
    tensors.push_back({.key = c10::str(module, ".ln_tuning_layers.", name),
                       .path = c10::str(module, ".ln_tuning_layers.", name_, ".", name),
                       .tensor = copy,
                       .decay = has_weight_decay(slot->path, copy),
                       .swift_key = c10::str(module, ".ln_tuning_layers.{}.", name)});
  }
  const auto saved = saved_.tensors(name_);
  tensors.insert(tensors.end(), saved.begin(), saved.end());
  return tensors;
}

std::vector<ParameterOverride> LnTuningAdapter::overrides() const {
  auto overrides = saved_.overrides();
  for (const auto& copy : copies_) overrides.push_back({.slot = copy.slot, .value = copy.copy});
  return overrides;
}

}  // namespace tunefleet::tuners

#include "tuners/linear_adapter.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <unordered_set>

#include "proto/log.h"
#include "tuners/config/rank_limit.h"
#include "tuners/config/resolve.h"
#include "tuners/config/unmatched_names.h"

namespace tunefleet::tuners {

void LinearLayerTuner::merge_into(LayerWeights& weights) const {
  weights.weight = weights.weight.add(delta_weight());
}

Result<std::unique_ptr<Adapter>> LinearAdapter::make(const TunerOptions& options,
                                                     const AdapterRequest& request,
                                                     const MakeLayer& make_layer) {
  std::unique_ptr<LinearAdapter> adapter(new LinearAdapter(options, request.name));
  if (auto status = adapter->attach(request, make_layer); !status) return fail(status.error());
  return adapter;
}

Status LinearAdapter::attach(const AdapterRequest& request, const MakeLayer& make_layer,
                             const LayerKinds& kinds) {
  if (auto status = check_options(options_); !status) return status;
  const ModelModules model = model_modules(request.base);
  const ModuleSelection selection = selection_of(options_);
  const auto targets = match_targets(selection, model, kinds);
  if (!targets) return fail(targets.error());
  targets_ = *targets;
  if (request.fresh) {
    for (const auto& text : unmatched_names(options_, *targets, model))
      log::warning(c10::str("adapter ", request.name, ": no module for ", text));
  }
  const std::unordered_set<std::string> chosen(targets->begin(), targets->end());
  for (LinearSite* site : request.base.linear_sites()) {
    if (!chosen.contains(site->path)) continue;
    if (request.fresh) {
      auto status = check_rank(options_, site->path, site->out_features(), site->in_features());
      if (!status) return status;
    }
    auto layer = make_layer(*site);
    if (!layer) return fail(layer.error());
    layers_.push_back({.site = site, .tuner = *std::move(layer)});
  }
  auto saved = SavedParts::make(request.base, selection, *targets);
  if (!saved) return fail(saved.error());
  saved_ = *std::move(saved);
  options_ =
      resolved(options_, *targets, saved_.module_names(), model, request.base.name_or_path());
  return {};
}

AdapterTensor LinearAdapter::named(const LayerTensor& tensor, const std::string& path) const {
  // PEFT's dictionaries: "lora_A.<name>.weight" of modules, "vera_lambda_b.<name>" of parameters.
  const size_t dot = std::min(tensor.name.rfind('.'), tensor.name.size());
  const std::string stem = path + "." + tensor.name.substr(0, dot);
  const std::string end = tensor.name.substr(dot);
  return {.key = path + "." + tensor.name,
          .path = stem + "." + name_ + end,
          .tensor = tensor.tensor,
          .decay = tensor.decay,
          .lr_scale = tensor.lr_scale,
          .swift_key = stem + ".{}" + end,
          .trains = tensor.trains,
          .saved = tensor.saved,
          .optional = tensor.optional};
}

std::vector<AdapterTensor> LinearAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& [site, tuner] : layers_) {
    for (const auto& tensor : tuner->tensors()) tensors.push_back(named(tensor, *site));
  }
  const auto saved = saved_.tensors(name_);
  tensors.insert(tensors.end(), saved.begin(), saved.end());
  return tensors;
}

std::vector<SiteTuner> LinearAdapter::linear_tuners() const {
  std::vector<SiteTuner> tuners;
  for (const auto& [site, tuner] : layers_) tuners.push_back({.site = site, .tuner = tuner.get()});
  return tuners;
}

std::vector<ParameterOverride> LinearAdapter::overrides() const { return saved_.overrides(); }

bool LinearAdapter::can_merge() const {
  for (const auto& layer : layers_) {
    if (!layer.tuner->can_merge()) return false;
  }
  return true;
}

void LinearAdapter::merge_into(const SiteTuner& part, LayerWeights& weights) const {
  static_cast<const LinearLayerTuner*>(part.tuner)->merge_into(weights);
}

at::Tensor LinearAdapter::delta_weight(const SiteTuner& part) const {
  return static_cast<const LinearLayerTuner*>(part.tuner)->delta_weight();
}

}  // namespace tunefleet::tuners

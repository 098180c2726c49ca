#include "tuners/weighted_options.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>

namespace tunefleet::tuners {
namespace {

Error bad(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

bool uses_dora(const Adapter& adapter) {
  const auto* option = find_option(adapter.options().schema(), "use_dora");
  return option != nullptr && option_json(adapter.options(), *option) == "true";
}

Status check_weights(const std::vector<const Adapter*>& adapters,
                     const std::vector<double>& weights, const Combination& how) {
  if (adapters.empty() || adapters.size() != weights.size()) {
    return fail(bad(c10::str("one weight for each adapter, and at least one: ", weights.size(),
                             " weights for ", adapters.size(), " adapters")));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    if (std::isfinite(weights[i])) continue;
    return fail(
        bad(c10::str("a weight is not a number: ", weights[i], " of ", adapters[i]->name())));
  }
  if (!how.svd_clamp || (*how.svd_clamp > 0.0 && *how.svd_clamp <= 1.0)) return {};
  return fail(bad(c10::str("svd_clamp is a quantile, above 0 and at most 1: ", *how.svd_clamp)));
}

/// Whether what the adapter does to a layer is scaling * B A and nothing else.
Status check_is_sum(const Adapter& adapter) {
  const auto* options = adapter.options().get_if<LoraOptions>();
  if (options == nullptr) {
    return fail(bad(c10::str("only LoRA adapters can be combined: ", adapter.name(), " (",
                             std::string(adapter.options().schema().name), ")")));
  }
  if (uses_dora(adapter)) {
    return fail(bad(c10::str("DoRA's update is no sum that could be weighted: ", adapter.name())));
  }
  if (base_init_of(options->init_lora_weights)) {
    return fail(
        bad(c10::str("an adapter that started from a part of the base's weights cannot be "
                     "combined, its update is no sum with the whole base: ",
                     adapter.name(), " (", options->init_lora_weights, ")")));
  }
  return {};
}

/// Both target lists together; two expressions become one that takes either.
Result<TargetModules> union_of(const TargetModules& a, const TargetModules& b) {
  if (a.regex.has_value() != b.regex.has_value()) {
    return fail(bad("adapters whose target_modules are a list and an expression do not combine"));
  }
  TargetModules both = a;
  if (a.regex) {
    if (a != b) both.regex = c10::str("(", *a.regex, ")|(", *b.regex, ")");
    return both;
  }
  for (const auto& name : b.names) {
    if (std::find(both.names.begin(), both.names.end(), name) == both.names.end())
      both.names.push_back(name);
  }
  return both;
}

}  // namespace

Status check_combinable(const std::vector<const Adapter*>& adapters,
                        const std::vector<double>& weights, const Combination& how) {
  if (auto status = check_weights(adapters, weights, how); !status) return status;
  for (const Adapter* adapter : adapters) {
    if (auto status = check_is_sum(*adapter); !status) return status;
  }
  return {};
}

Result<LoraOptions> combined_options(const std::vector<const Adapter*>& adapters, int64_t rank) {
  LoraOptions options = adapters.front()->options().as<LoraOptions>();
  for (const Adapter* adapter : adapters) {
    const auto& other = adapter->options().as<LoraOptions>();
    auto targets = union_of(options.target_modules, other.target_modules);
    if (!targets) return fail(targets.error());
    options.target_modules = *std::move(targets);
    for (const auto& name : other.modules_to_save) {
      auto& saved = options.modules_to_save;
      if (std::find(saved.begin(), saved.end(), name) == saved.end()) saved.push_back(name);
    }
    if (other.bias != "none") options.bias = other.bias;
    if (options.trainable_token_indices.text == "null")
      options.trainable_token_indices = other.trainable_token_indices;
    if (adapter != adapters.front() && other.exclude_modules != options.exclude_modules)
      options.exclude_modules = {};
  }
  options.r = rank;
  options.lora_alpha = static_cast<double>(rank);
  options.rank_pattern.clear();
  options.alpha_pattern.clear();
  options.layers_to_transform.clear();
  options.layers_pattern.clear();
  options.use_rslora = false;
  options.init_lora_weights = "true";
  return options;
}

}  // namespace tunefleet::tuners

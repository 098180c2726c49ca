#include "tuners/config/trainable_count.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <unordered_set>
#include <utility>

#include "tuners/config/adalora_options.h"
#include "tuners/config/bottleneck_options.h"
#include "tuners/config/full_options.h"
#include "tuners/config/ia3_options.h"
#include "tuners/config/linear_count.h"
#include "tuners/config/llama_pro_options.h"
#include "tuners/config/ln_tuning_options.h"
#include "tuners/config/long_lora_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/neftune_options.h"
#include "tuners/config/prompt_options.h"
#include "tuners/config/python_regex.h"
#include "tuners/config/rank_limit.h"
#include "tuners/config/reft_options.h"
#include "tuners/config/resolve.h"
#include "tuners/config/virtual_token_options.h"

namespace tunefleet::tuners {
namespace {

std::string only_trainer(std::string_view type) {
  return fmt::format("the trainer alone knows how many numbers {} trains here", type);
}

/// Parameters as the model has slots for them: a tied head comes again, under its own path.
std::vector<ParameterShape> slots_of(const ModelShapes& model) {
  std::vector<ParameterShape> slots = model.parameters;
  const std::string head = model.modules.output_embedding + ".weight";
  if (model.tied) slots.push_back({head, model.find(head)->shape});
  return slots;
}

std::string module_of(const std::string& path) { return path.substr(0, path.rfind('.')); }

/// Whether modules_to_save's `name` means the parameter: its module's path, or a parent's, ends so.
bool saves(const std::string& name, const ParameterShape& parameter, const ModelShapes& model) {
  const std::string module = module_of(parameter.path);
  const bool linear = std::ranges::find(model.modules.linear, module) != model.modules.linear.end();
  if (name == "all-norm") return !linear && parameter.shape.size() == 1;
  if (name == "all-embedding") return !linear && parameter.shape.size() == 2;
  for (size_t end = module.size(); end != std::string::npos && end > 0;
       end = module.rfind('.', end - 1)) {
    if (std::string_view(module).substr(0, end).ends_with(name)) return true;
  }
  return false;
}

/// What modules_to_save and bias train in full.
Result<int64_t> count_saved(const ModuleSelection& selection, const ModelShapes& model,
                            const std::unordered_set<std::string>& targets) {
  int64_t count = 0;
  std::unordered_set<std::string> useful;
  for (const auto& slot : slots_of(model)) {
    bool saved = false;
    for (const auto& name : selection.modules_to_save) {
      if (!saves(name, slot, model)) continue;
      saved = true;
      useful.insert(name);
    }
    if (saved && targets.contains(module_of(slot.path))) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("a module cannot be both in target_modules and in modules_to_save: "
                              "{}",
                              module_of(slot.path)));
    }
    const bool bias = slot.path.ends_with(".bias") && selection.bias != "none" &&
                      (selection.bias == "all" || targets.contains(module_of(slot.path)));
    if (saved || bias) count += slot.size();
  }
  for (const auto& name : selection.modules_to_save) {
    if (useful.contains(name)) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("modules_to_save names no module: \"{}\"", name));
  }
  return count;
}

/// LoRA's part at an embedding, [rows, dim].
int64_t at_embedding(const LoraOptions& options, const ParameterShape& table) {
  return rank_of(options, module_of(table.path)) * (table.shape[0] + table.shape[1]);
}

/// A tuner of linear layers, and LoRA's embeddings: its part at each target, what all targets
/// share, and what is trained in full beside.
Result<TrainableCount> count_targets(TrainableCount result, const TunerOptions& options,
                                     const ModelShapes& model) {
  const auto* lora = options.get_if<LoraOptions>();
  const auto selection = selection_of(options);
  const LayerKinds kinds{.linear = true, .embedding = lora != nullptr};
  const auto targets = match_targets(selection, model.modules, kinds);
  if (!targets) return fail(targets.error());
  const auto linear = linear_layers(*targets, model);
  const auto own = count_linear(options, linear);
  if (!own) return fail(own.error());
  if (!*own) {
    result.unknown = only_trainer(result.type);
    return result;
  }
  int64_t count = **own;
  for (const auto& path : model.modules.embeddings) {
    if (std::ranges::find(*targets, path) == targets->end()) continue;
    if (lora->use_dora) {
      result.unknown = only_trainer("lora with use_dora at an embedding");
      return result;
    }
    count += at_embedding(*lora, *model.find(path + ".weight"));
  }
  if (lora != nullptr) {
    const auto tokens = trained_tokens(*lora);
    if (!tokens) return fail(tokens.error());
    for (const auto& each : *tokens)
      count += static_cast<int64_t>(each.rows.size()) * model.hidden_size;
  }
  const auto saved = count_saved(selection, model, {targets->begin(), targets->end()});
  if (!saved) return fail(saved.error());
  result.numbers = count + *saved;
  return result;
}

Result<TrainableCount> count_ln_tuning(TrainableCount result, const LnTuningOptions& given,
                                       const ModelShapes& model) {
  const TunerOptions options = with_ln_tuning_defaults(given, model.modules.model_type);
  const auto selection = selection_of(options);
  const auto targets = match_targets(selection, model.modules, {.linear = true, .any = true});
  if (!targets) return fail(targets.error());
  int64_t count = 0;
  for (const auto& slot : slots_of(model)) {
    const bool within = std::ranges::any_of(
        *targets, [&](const std::string& module) { return slot.path.starts_with(module + "."); });
    if (within) count += slot.size();
  }
  const auto saved = count_saved(selection, model, {targets->begin(), targets->end()});
  if (!saved) return fail(saved.error());
  result.numbers = count + *saved;
  return result;
}

Result<TrainableCount> count_long_lora(TrainableCount result, const LongLoraOptions& options,
                                       const ModelShapes& model) {
  auto lora = count_targets(result, static_cast<const LoraOptions&>(options), model);
  if (!lora || !lora->numbers) return lora;
  if (!options.modules_to_save.empty() || options.bias != "none") {
    result.unknown = only_trainer("longlora with modules_to_save or bias");
    return result;
  }
  const auto& names = options.embedder_and_normalizer;
  for (const auto& parameter : model.parameters) {
    bool selected = std::ranges::any_of(names.names, [&](const std::string& part) {
      return parameter.path.find(part) != std::string::npos;
    });
    if (names.regex) {
      const auto regex = PythonRegex::compile(*names.regex);
      if (!regex) return fail(regex.error());
      const auto matches = regex->fullmatch(parameter.path);
      if (!matches) return fail(matches.error());
      selected = *matches;
    }
    if (selected) *lora->numbers += parameter.size();
  }
  return lora;
}

Result<TrainableCount> count_llama_pro(TrainableCount result, const LlamaProOptions& options,
                                       const ModelShapes& model) {
  const int64_t groups = options.num_groups.value_or(options.num_new_blocks);
  if (groups < 1 || groups > model.num_layers) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("llamapro cannot make {} groups of {} layers", groups, model.num_layers));
  }
  int64_t layer = 0;
  for (const auto& parameter : model.parameters)
    if (parameter.path.starts_with("model.layers.0.")) layer += parameter.size();
  const int64_t stride = model.num_layers / groups;
  result.numbers = model.num_layers / stride * layer;
  return result;
}

/// Two linear layers with biases behind each target, hidden -> adapter_length -> hidden.
Result<TrainableCount> count_bottleneck(TrainableCount result, const BottleneckOptions& options,
                                        const ModelShapes& model) {
  const int64_t dim = options.dim.value_or(model.hidden_size);
  const auto matcher =
      TargetMatcher::create({.target_modules = {.names = options.target_modules.names,
                                                .regex = options.target_modules.regex}});
  if (!matcher) return fail(matcher.error());
  int64_t places = 0;
  for (const auto& module : model.modules.modules) {
    const auto match = matcher->check(module);
    if (!match) return fail(match.error());
    places += *match == TargetMatch::kYes ? 1 : 0;
    const auto* weight = *match == TargetMatch::kYes ? model.find(module + ".weight") : nullptr;
    if (weight == nullptr || weight->shape[0] == dim) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("adapter needs modules whose output has the width dim: {} {}, dim {}",
                            module, weight->shape[0], dim));
  }
  const int64_t length = options.adapter_length;
  result.numbers = places * (2 * dim * length + length + dim);
  return result;
}

Result<TrainableCount> count_reft(TrainableCount result, const ReftOptions& options,
                                  const ModelShapes& model) {
  if (options.intervention_type != "LoreftIntervention" || options.layer_key) {
    result.unknown = only_trainer("reft with another intervention or layer_key");
    return result;
  }
  const auto layers =
      options.layers.empty() ? model.num_layers : static_cast<int64_t>(options.layers.size());
  const int64_t rotation = model.hidden_size * options.r;
  const int64_t source = model.hidden_size * options.r + options.r;
  result.numbers = layers * (rotation + source);
  return result;
}

/// Tuners that are not a part at each of some linear layers; unset for all others.
std::optional<Result<TrainableCount>> count_other(const TrainableCount& result,
                                                  const TunerOptions& options,
                                                  const ModelShapes& model) {
  if (const auto* own = options.get_if<LnTuningOptions>())
    return count_ln_tuning(result, *own, model);
  if (const auto* own = options.get_if<LongLoraOptions>())
    return count_long_lora(result, *own, model);
  if (const auto* own = options.get_if<LlamaProOptions>())
    return count_llama_pro(result, *own, model);
  if (const auto* own = options.get_if<BottleneckOptions>())
    return count_bottleneck(result, *own, model);
  if (const auto* own = options.get_if<ReftOptions>()) return count_reft(result, *own, model);
  TrainableCount known = result;
  if (options.get_if<NeftuneOptions>() != nullptr) {
    known.numbers = 0;
    return known;
  }
  if (const auto* own = options.get_if<PromptTuningOptions>()) {
    known.numbers = own->tokens.num_virtual_tokens * model.hidden_size;
    return known;
  }
  if (const auto* own = options.get_if<PrefixTuningOptions>(); own && !own->prefix_projection) {
    known.numbers = own->tokens.num_virtual_tokens * 2 * model.num_layers *
                    model.num_key_value_heads * model.head_dim;
    return known;
  }
  return std::nullopt;
}

Result<TrainableCount> count_full(const JobSpec& spec, const ModelShapes& model) {
  const auto options = full_options_from_job(spec);
  TrainableCount result{.name = "full", .type = "full", .numbers = {}, .unknown = {}};
  if (!options.int8_modules.empty()) {
    result.unknown = only_trainer("full tuning with weights in 8 bits");
    return result;
  }
  std::vector<std::string> paths;
  std::vector<int64_t> sizes;
  for (const auto& parameter : model.parameters) {
    paths.push_back(parameter.path);
    sizes.push_back(parameter.size());
  }
  const auto trained = trained_parameters(options, paths, sizes);
  if (!trained) return fail(trained.error());
  int64_t count = 0;
  for (size_t i = 0; i < sizes.size(); ++i) count += (*trained)[i] ? sizes[i] : 0;
  result.numbers = count;
  return result;
}

}  // namespace

Result<TrainableCount> count_trainable(const std::string& name, const TunerOptions& options,
                                       const ModelShapes& model) {
  TrainableCount result{
      .name = name, .type = std::string(options.schema().name), .numbers = {}, .unknown = {}};
  if (auto status = check_options(options); !status) return fail(status.error());
  if (const auto other = count_other(result, options, model)) return *other;
  if (const auto* ia3 = options.get_if<Ia3Options>())
    return count_targets(std::move(result), with_ia3_defaults(*ia3, model.modules.model_type),
                         model);
  if (!counts_linear(options)) {
    result.unknown = only_trainer(result.type);
    return result;
  }
  return count_targets(std::move(result), options, model);
}

Result<std::vector<TrainableCount>> count_trainable(const JobSpec& spec, const ModelShapes& model) {
  std::vector<TrainableCount> counts;
  if (spec.tuner_type == "full" && spec.tuners.empty()) {
    auto full = count_full(spec, model);
    if (!full) return fail(full.error());
    counts.push_back(*std::move(full));
  }
  for (const auto& adapter : spec.adapters) {
    counts.push_back(
        {.name = adapter,
         .type = "",
         .numbers = {},
         .unknown = "the trainer alone knows what an adapter of an earlier run trains"});
  }
  const auto tuners = tuner_options_of_job(spec, {.hidden_size = model.hidden_size});
  if (!tuners) return fail(tuners.error());
  const bool new_layers = std::ranges::any_of(*tuners, [](const auto& each) {
    return each.second.template get_if<LlamaProOptions>() != nullptr;
  });
  for (const auto& [name, options] : *tuners) {
    auto count = count_trainable(name, options, model);
    if (!count) return fail(count.error());
    if (new_layers && tuners->size() > 1 && count->type != "llamapro" && count->type != "neftune") {
      count->numbers.reset();
      count->unknown = only_trainer(count->type + " beside new layers of llamapro");
    }
    counts.push_back(*std::move(count));
  }
  return counts;
}

}  // namespace tunefleet::tuners

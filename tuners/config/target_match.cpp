#include "tuners/config/target_match.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <unordered_set>

#include "proto/nearest_name.h"

namespace tunefleet::tuners {
namespace {

bool selects(const std::vector<std::string>& names, std::string_view path) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return path == name || (path.size() > name.size() && path.ends_with(name) &&
                            path[path.size() - name.size() - 1] == '.');
  });
}

std::string_view last_component(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

/// PEFT's TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING for the model types with linear layers
/// of their own.
const std::map<std::string_view, std::vector<std::string>>& default_targets() {
  static const std::vector<std::string> kQueryValue{"q_proj", "v_proj"};
  static const std::vector<std::string> kFused{"query_key_value"};
  static const std::vector<std::string> kBert{"query", "value"};
  static const std::map<std::string_view, std::vector<std::string>> table{
      {"bart", kQueryValue},
      {"bert", kBert},
      {"bloom", kFused},
      {"chatglm", kFused},
      {"codegen", {"qkv_proj"}},
      {"deberta", {"in_proj"}},
      {"deberta-v2", {"query_proj", "value_proj"}},
      {"electra", kBert},
      {"falcon", kFused},
      {"gemma", kQueryValue},
      {"gemma2", kQueryValue},
      {"gemma3_text", kQueryValue},
      {"gpt_neo", kQueryValue},
      {"gpt_neox", kFused},
      {"gptj", kQueryValue},
      {"layoutlm", kBert},
      {"llama", kQueryValue},
      {"llama4", kQueryValue},
      {"mistral", kQueryValue},
      {"mixtral", kQueryValue},
      {"mpt", {"Wqkv"}},
      {"mt5", {"q", "v"}},
      {"nemotron_h", {"q_proj", "k_proj", "v_proj", "o_proj"}},
      {"opt", kQueryValue},
      {"phi", {"q_proj", "v_proj", "fc1", "fc2"}},
      {"qwen2", kQueryValue},
      {"qwen3", kQueryValue},
      {"roberta", kBert},
      {"stablelm", kQueryValue},
      {"t5", {"q", "v"}},
      {"xlm-roberta", kBert}};
  return table;
}

/// The options with names in the place of the model type's default and of all-embedding.
Result<ModuleSelection> with_default_targets(ModuleSelection options, const ModelModules& model) {
  TargetModules& targets = options.target_modules;
  if (!model.embeddings.empty() && std::erase(targets.names, kAllEmbedding) > 0)
    targets.names.insert(targets.names.end(), model.embeddings.begin(), model.embeddings.end());
  if (targets.unset()) {
    const auto found = default_targets().find(model.model_type);
    if (found == default_targets().end()) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("no default target_modules for this model type, name them or write "
                              "all-linear: {}",
                              model.model_type));
    }
    targets.names = found->second;
  }
  return options;
}

/// Paths that a tuner of these kinds can act on.
std::unordered_set<std::string_view> reachable(const ModelModules& model, const LayerKinds& kinds) {
  std::unordered_set<std::string_view> paths;
  if (kinds.linear) paths.insert(model.linear.begin(), model.linear.end());
  if (kinds.embedding) paths.insert(model.embeddings.begin(), model.embeddings.end());
  if (kinds.conv2d) paths.insert(model.convolutions.begin(), model.convolutions.end());
  if (kinds.any) paths.insert(model.modules.begin(), model.modules.end());
  return paths;
}

tl::unexpected<Error> no_match(const ModuleSelection& asked, const ModelModules& model,
                               const LayerKinds& kinds, bool excluded) {
  if (excluded) {
    return fail(
        ErrorCode::kInvalidArgument,
        "every module that target_modules names is excluded by exclude_modules or trained in "
        "full by modules_to_save");
  }
  const TargetModules& targets = asked.target_modules;
  const std::string wanted =
      targets.regex ? *targets.regex : fmt::format("{}", fmt::join(targets.names, ", "));
  std::vector<std::string> known;
  const auto paths = reachable(model, kinds);
  for (const auto& path : model.modules) {
    if (paths.contains(path)) known.emplace_back(last_component(path));
  }
  const std::string_view first =
      targets.names.empty() ? wanted : std::string_view(targets.names[0]);
  std::string text = fmt::format("target_modules match no module; nearest names {}: \"{}\"",
                                 fmt::join(nearest_names(first, known, 5), ", "), wanted);
  if (!asked.layers_to_transform.empty()) {
    text += fmt::format(", in layers {}", fmt::join(asked.layers_to_transform, ", "));
  }
  return fail(ErrorCode::kInvalidArgument, std::move(text));
}

struct Matches {
  std::vector<std::string> targets;
  bool excluded = false;  ///< Some module was excluded.
};

Result<Matches> match_all(const ModuleSelection& options, const ModelModules& model,
                          const LayerKinds& kinds) {
  const auto matcher = TargetMatcher::create(options);
  if (!matcher) return fail(matcher.error());
  const bool all_linear = options.target_modules.all_linear && !options.target_modules.regex;
  const std::unordered_set<std::string_view> linear(model.linear.begin(), model.linear.end());
  const auto can_act = reachable(model, kinds);
  Matches matches;
  for (const auto& path : model.modules) {
    const auto match = matcher->check(path);
    const auto in_layer = matcher->in_wanted_layer(path);
    if (!match) return fail(match.error());
    if (!in_layer) return fail(in_layer.error());
    matches.excluded |= *match == TargetMatch::kExcluded;
    const bool by_kind = all_linear && *match == TargetMatch::kNo && *in_layer &&
                         linear.contains(path) && path != model.output_embedding;
    if (*match != TargetMatch::kYes && !by_kind) continue;
    if (!can_act.contains(path)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("target_modules match a module that {}: {}",
                              kinds.embedding || kinds.conv2d ? "this tuner cannot act on"
                                                              : "is not a linear layer",
                              path));
    }
    matches.targets.push_back(path);
  }
  return matches;
}

}  // namespace

std::vector<std::string> modules_of_parameters(const std::vector<std::string>& parameter_paths) {
  std::vector<std::string> modules;
  std::unordered_set<std::string> seen;
  for (const auto& path : parameter_paths) {
    for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
      std::string module = path.substr(0, dot);
      if (seen.insert(module).second) modules.push_back(std::move(module));
    }
  }
  return modules;
}

Result<TargetMatcher> TargetMatcher::create(const ModuleSelection& options) {
  TargetMatcher matcher(options);
  if (auto status = matcher.compile(); !status) return fail(status.error());
  return matcher;
}

Status TargetMatcher::compile() {
  const auto add = [](std::vector<PythonRegex>& to, const std::string& pattern) -> Status {
    auto regex = PythonRegex::compile(pattern);
    if (!regex) return fail(regex.error());
    to.push_back(*std::move(regex));
    return {};
  };
  if (options_.target_modules.regex) {
    if (auto status = add(target_, *options_.target_modules.regex); !status) return status;
  }
  if (options_.exclude_modules.regex) {
    if (auto status = add(exclude_, *options_.exclude_modules.regex); !status) return status;
  }
  for (const auto& name : options_.modules_to_save) {
    if (auto status = add(saved_, fmt::format(R"((^|.*\.){}($|\..*))", name)); !status)
      return status;
  }
  // The first numbered component is the layer; a later one would be an expert within it.
  if (options_.layers_pattern.empty()) return add(layers_, R"(.*?\.[^.]*\.(?P<idx>\d+)\.)");
  for (const auto& name : options_.layers_pattern) {
    if (auto status = add(layers_, fmt::format(R"((?:^|.*?\.){}\.(?P<idx>\d+)\.)", name));
        !status) {
      return status;
    }
  }
  return {};
}

Result<bool> TargetMatcher::is_excluded(const std::string& path) const {
  for (const auto& regex : exclude_) {
    const auto hit = regex.fullmatch(path);
    if (!hit || *hit) return hit;
  }
  if (exclude_.empty() && selects(options_.exclude_modules.names, path)) return true;
  for (const auto& regex : saved_) {
    const auto groups = regex.match(path);
    if (!groups) return fail(groups.error());
    if (!groups->empty()) return true;
  }
  return false;
}

Result<bool> TargetMatcher::in_wanted_layer(const std::string& path) const {
  if (options_.layers_to_transform.empty()) return true;
  for (const auto& regex : layers_) {
    const auto groups = regex.match(path);
    if (!groups) return fail(groups.error());
    if (groups->empty()) continue;
    const std::string& text = groups->at(static_cast<size_t>(regex.group("idx")));
    int64_t layer = -1;
    std::from_chars(text.data(), text.data() + text.size(), layer);
    const auto& wanted = options_.layers_to_transform;
    return std::find(wanted.begin(), wanted.end(), layer) != wanted.end();
  }
  return false;
}

Result<TargetMatch> TargetMatcher::check(const std::string& path) const {
  const auto excluded = is_excluded(path);
  if (!excluded) return fail(excluded.error());
  if (*excluded) return TargetMatch::kExcluded;
  const auto answer = [](bool yes) { return yes ? TargetMatch::kYes : TargetMatch::kNo; };
  if (!target_.empty()) return target_.front().fullmatch(path).map(answer);

  const auto& names = options_.target_modules.names;
  if (std::find(names.begin(), names.end(), path) != names.end()) return TargetMatch::kYes;
  if (!selects(names, path)) return TargetMatch::kNo;
  return in_wanted_layer(path).map(answer);
}

Result<std::vector<std::string>> match_targets(const ModuleSelection& asked,
                                               const ModelModules& model, const LayerKinds& kinds) {
  const auto options = with_default_targets(asked, model);
  if (!options) return fail(options.error());
  const auto found = match_all(*options, model, kinds);
  if (!found || !found->targets.empty()) {
    return found.map([](const Matches& matches) { return matches.targets; });
  }
  // Exclusions explain an empty result only if the names match without them.
  ModuleSelection open = *options;
  open.exclude_modules = {};
  open.modules_to_save.clear();
  const auto unexcluded = match_all(open, model, kinds);
  return no_match(*options, model, kinds,
                  found->excluded && unexcluded && !unexcluded->targets.empty());
}

std::vector<std::string> minimal_names(const std::vector<std::string>& targets,
                                       const ModelModules& model) {
  const std::unordered_set<std::string_view> wanted(targets.begin(), targets.end());
  std::set<std::string_view> ambiguous;
  for (const auto& path : model.modules) {
    if (!wanted.contains(path)) ambiguous.insert(last_component(path));
  }
  std::set<std::string> names;
  for (const auto& path : targets) {
    const std::string_view last = last_component(path);
    names.emplace(ambiguous.contains(last) ? std::string_view(path) : last);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> nearest_names(std::string_view name,
                                       const std::vector<std::string>& candidates, size_t count) {
  std::vector<std::pair<size_t, std::string>> ranked;
  std::unordered_set<std::string> seen;
  for (const auto& candidate : candidates) {
    if (seen.insert(candidate).second)
      ranked.emplace_back(edit_distance(name, candidate), candidate);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(count, ranked.size()); ++i) names.push_back(ranked[i].second);
  return names;
}

bool pattern_matches(const std::string& key, std::string_view path) {
  const auto regex = PythonRegex::compile(fmt::format(R"((.*\.)?({})$)", key));
  if (!regex) return false;
  const auto groups = regex->match(path);
  return groups && !groups->empty();
}

bool names_kinds(const TargetModules& targets) {
  const auto& names = targets.names;
  return !targets.regex && (targets.all_linear || targets.unset() ||
                            std::find(names.begin(), names.end(), kAllEmbedding) != names.end());
}

bool is_all_linear(std::string_view name) {
  constexpr std::string_view kWord = "all-linear";
  return std::equal(name.begin(), name.end(), kWord.begin(), kWord.end(), [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == b;
  });
}

}  // namespace tunefleet::tuners

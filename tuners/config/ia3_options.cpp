#include "tuners/config/ia3_options.h"

#include <algorithm>
#include <map>
#include <utility>

#include "tuners/config/python_regex.h"

namespace tunefleet::tuners {
namespace {

using Names = std::vector<std::string>;

struct DefaultModules {
  Names targets;
  Names feedforward;
};

/// PEFT's TRANSFORMERS_MODELS_TO_IA3_{TARGET,FEEDFORWARD}_MODULES_MAPPING for models of linear
/// layers.
const std::map<std::string_view, DefaultModules>& default_modules() {
  static const DefaultModules kKeyValue{{"k_proj", "v_proj", "down_proj"}, {"down_proj"}};
  static const DefaultModules kQueryValue{{"q_proj", "v_proj", "down_proj"}, {"down_proj"}};
  static const std::map<std::string_view, DefaultModules> table{
      {"gemma", kQueryValue}, {"gemma2", kQueryValue}, {"gemma3_text", kQueryValue},
      {"llama", kKeyValue},   {"mistral", kKeyValue},  {"qwen2", kQueryValue},
      {"qwen3", kQueryValue}};
  return table;
}

bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Status validate(const Ia3Options& options) {
  const auto& targets = options.modules.target_modules;
  const auto& inner = options.feedforward_modules;
  const bool lists = inner && !inner->regex && !targets.regex && !targets.all_linear;
  if (!lists || targets.names.empty()) return {};
  for (const auto& name : inner->names) {
    if (contains(targets.names, name)) continue;
    return fail(ErrorCode::kInvalidArgument,
                "feedforward_modules must be among target_modules: " + name);
  }
  return {};
}

}  // namespace

Ia3Options with_ia3_defaults(Ia3Options options, std::string_view model_type) {
  const auto found = default_modules().find(model_type);
  if (found == default_modules().end()) return options;
  auto& targets = options.modules.target_modules;
  if (targets.unset()) targets.names = found->second.targets;
  if (options.feedforward_modules) return options;
  Names inner = found->second.feedforward;
  if (!targets.regex && !targets.all_linear) {
    // PEFT writes them all and then cannot load the file.
    std::erase_if(inner, [&](const auto& name) { return !contains(targets.names, name); });
  }
  options.feedforward_modules = ModuleNames{.names = std::move(inner)};
  return options;
}

Result<bool> is_feedforward(const Ia3Options& options, const std::string& path) {
  if (!options.feedforward_modules) return false;
  if (const auto& pattern = options.feedforward_modules->regex) {
    const auto regex = PythonRegex::compile(*pattern);
    if (!regex) return fail("ia3 option feedforward_modules", regex.error());
    return regex->fullmatch(path);
  }
  const Names& names = options.feedforward_modules->names;
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return path.ends_with(name); });
}

const TunerSchema& Ia3Options::schema() {
  static const TunerSchema schema{
      .name = "ia3",
      .peft_type = "IA3",
      .swift_type = {},
      .summary = "one trained factor for every output (or input) of a layer",
      .source = "arXiv:2205.05638",
      .can_merge = true,
      .options = with_common_rows<Ia3Options>(
          {{.key = "feedforward_modules",
            .help = "Those of target_modules whose input is scaled instead of the output; unset: "
                    "the model type's.",
            .ref = ref_of<&Ia3Options::feedforward_modules>},
           {.key = "init_ia3_weights",
            .help = "Start at one; false: at random, for tests.",
            .ref = ref_of<&Ia3Options::init_ia3_weights>}},
          false),
      .fixed = {{"fan_in_fan_out", "false"}},
      .make = &make_options<Ia3Options>,
      .clone = &clone_options<Ia3Options>,
      .check = &checked<Ia3Options, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners

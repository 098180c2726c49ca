#include "tuners/config/lora_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "tuners/config/python_regex.h"
#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

Status check_word(std::string_view field, std::string_view value,
                  const std::vector<std::string_view>& words) {
  if (std::find(words.begin(), words.end(), value) != words.end()) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("LoRA option {} takes {}: \"{}\"", field, fmt::join(words, ", "), value));
}

Status check_rank(std::string_view field, int64_t r, const LoraOptions& options) {
  if (r < 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("LoRA option {} is below 1: {}", field, r));
  }
  if (options.init_lora_weights == "orthogonal" && r % 2 != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("orthogonal initial values need an even rank: {} {}", field, r));
  }
  return {};
}

Status check_numbers(const LoraOptions& options) {
  if (auto status = check_rank("r", options.r, options); !status) return status;
  for (const auto& [key, r] : options.rank_pattern) {
    if (auto status = check_rank("rank_pattern." + key, r, options); !status) return status;
  }
  if (!std::isfinite(options.lora_alpha)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("LoRA option lora_alpha is not a number: {}", options.lora_alpha));
  }
  for (const auto& [key, alpha] : options.alpha_pattern) {
    if (std::isfinite(alpha)) continue;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("LoRA option alpha_pattern.{} is not a number: {}", key, alpha));
  }
  if (options.lora_dropout >= 0.0 && options.lora_dropout < 1.0) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("LoRA option lora_dropout is not in [0, 1): {}", options.lora_dropout));
}

Status check_regex(std::string_view field, const std::string& pattern) {
  const auto regex = PythonRegex::compile(pattern);
  if (!regex) return fail(fmt::format("LoRA option {}", field), regex.error());
  return {};
}

Status check_regexes(const LoraOptions& options) {
  std::vector<std::pair<std::string_view, std::string>> patterns;
  if (options.target_modules.regex)
    patterns.emplace_back("target_modules", *options.target_modules.regex);
  if (options.exclude_modules.regex)
    patterns.emplace_back("exclude_modules", *options.exclude_modules.regex);
  for (const auto& name : options.modules_to_save) patterns.emplace_back("modules_to_save", name);
  for (const auto& name : options.layers_pattern) patterns.emplace_back("layers_pattern", name);
  for (const auto& [key, r] : options.rank_pattern) patterns.emplace_back("rank_pattern", key);
  for (const auto& [key, alpha] : options.alpha_pattern)
    patterns.emplace_back("alpha_pattern", key);
  for (const auto& [field, pattern] : patterns) {
    if (auto status = check_regex(field, pattern); !status) return status;
  }
  return {};
}

/// layers_to_transform and layers_pattern narrow names, never an expression: as in PEFT.
Status check_layers(const LoraOptions& options) {
  if (options.target_modules.regex &&
      (!options.layers_to_transform.empty() || !options.layers_pattern.empty())) {
    return fail(ErrorCode::kInvalidArgument,
                "layers_to_transform and layers_pattern need names in target_modules; with a "
                "regular expression, put the layers into it");
  }
  if (!options.layers_pattern.empty() && options.layers_to_transform.empty()) {
    return fail(ErrorCode::kInvalidArgument, "layers_pattern needs layers_to_transform beside it");
  }
  return {};
}

constexpr std::string_view kApproximatePissa = "pissa_niter_";

/// PEFT refuses the same combinations.
Status check_lora_bias(const LoraOptions& options) {
  if (!options.lora_bias) return {};
  if (options.use_dora)
    return fail(ErrorCode::kInvalidArgument, "LoRA option lora_bias does not go with use_dora");
  if (options.init_lora_weights == "true" || options.init_lora_weights == "false") return {};
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("LoRA option lora_bias goes with init_lora_weights true or false only: {}",
                  options.init_lora_weights));
}

Status check_trained_tokens(const LoraOptions& options) {
  const auto tokens = trained_tokens(options);
  return tokens ? Status{} : fail(tokens.error());
}

Result<std::vector<int64_t>> token_rows(const nlohmann::json& list) {
  std::vector<int64_t> rows;
  std::set<int64_t> seen;
  for (const auto& each : list) {
    const bool whole = each.is_number_integer() && each.get<int64_t>() >= 0;
    if (!whole || !seen.insert(each.get<int64_t>()).second) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("trainable_token_indices takes token ids, each once: {}", each.dump()));
    }
    rows.push_back(each.get<int64_t>());
  }
  if (!rows.empty()) return rows;
  return fail(ErrorCode::kInvalidArgument, "trainable_token_indices names no token: []");
}

template <typename T>
T pattern_value(const Pattern<T>& pattern, std::string_view path, T otherwise) {
  const auto found = find_pattern(pattern, path);
  return found == nullptr ? otherwise : *found;
}

Result<TargetModules> targets_of_job(const JobSpec& spec) {
  if (spec.target_regex) return TargetModules{.regex = spec.target_regex};
  TargetModules targets;
  for (const auto& name : spec.target_modules) {
    if (is_all_linear(name)) {
      targets.all_linear = true;
    } else {
      targets.names.push_back(name);
    }
  }
  return targets;
}

}  // namespace

Status validate(const LoraOptions& options) {
  for (const auto& check :
       {check_numbers, check_regexes, check_layers, check_lora_bias, check_trained_tokens}) {
    if (auto status = check(options); !status) return status;
  }
  if (auto status = check_word("bias", options.bias, {"none", "all", "lora_only"}); !status)
    return status;
  if (!base_init_of(options.init_lora_weights)) {
    auto status = check_word("init_lora_weights", options.init_lora_weights,
                             {"true", "false", "gaussian", "orthogonal", "pissa", "olora"});
    if (!status) return status;
  }
  if (!options.lora_dtype) return {};
  return check_word("lora_dtype", *options.lora_dtype, {"float32", "bfloat16", "float16"});
}

Result<LoraOptions> lora_options_from_job(const JobSpec& spec) {
  auto targets = targets_of_job(spec);
  if (!targets) return fail(targets.error());
  LoraOptions options{
      .r = spec.lora_rank,
      .lora_alpha = spec.lora_alpha,
      .lora_dropout = spec.lora_dropout,
      .target_modules = *std::move(targets),
      .exclude_modules = {.names = spec.exclude_modules},
      .modules_to_save = spec.modules_to_save,
      .layers_to_transform = spec.layers_to_transform,
      .rank_pattern = {spec.rank_pattern.begin(), spec.rank_pattern.end()},
      .alpha_pattern = {spec.alpha_pattern.begin(), spec.alpha_pattern.end()},
      .bias = spec.lora_bias,
      .use_rslora = spec.use_rslora,
      .init_lora_weights = spec.init_weights,
      .lora_dtype = spec.lora_dtype,
  };
  if (auto status = validate(options); !status) return fail(status.error());
  return options;
}

LoraOptions::operator ModuleSelection() const {
  return {.target_modules = target_modules,
          .exclude_modules = exclude_modules,
          .modules_to_save = modules_to_save,
          .layers_to_transform = layers_to_transform,
          .layers_pattern = layers_pattern,
          .bias = bias};
}

Result<std::vector<TrainedTokens>> trained_tokens(const LoraOptions& options) {
  const auto json = nlohmann::json::parse(options.trainable_token_indices.text, nullptr, false);
  std::vector<TrainedTokens> tokens;
  if (json.is_null()) return tokens;
  if (!json.is_structured()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("trainable_token_indices is neither a list of token ids nor a map from "
                            "module names to such lists: {}",
                            options.trainable_token_indices.text));
  }
  const auto lists = json.is_array() ? nlohmann::json{{"", json}} : json;
  for (const auto& [module, list] : lists.items()) {
    auto rows = token_rows(list.is_array() ? list : nlohmann::json::array({list}));
    if (!rows) return fail(rows.error());
    tokens.push_back({.module = module, .rows = *std::move(rows)});
  }
  return tokens;
}

std::optional<BaseInit> base_init_of(const std::string& word) {
  if (word == "pissa") return BaseInit{};
  if (word == "olora") return BaseInit{.qr = true};
  if (!word.starts_with(kApproximatePissa)) return std::nullopt;
  BaseInit init;
  const char* end = word.data() + word.size();
  const auto [stop, error] =
      std::from_chars(word.data() + kApproximatePissa.size(), end, init.niter);
  if (error != std::errc() || stop != end || init.niter < 0) return std::nullopt;
  return init;
}

int64_t rank_of(const LoraOptions& options, std::string_view path) {
  return pattern_value(options.rank_pattern, path, options.r);
}

double alpha_of(const LoraOptions& options, std::string_view path) {
  return pattern_value(options.alpha_pattern, path, options.lora_alpha);
}

double scaling_of(const LoraOptions& options, std::string_view path) {
  const auto r = static_cast<double>(rank_of(options, path));
  return alpha_of(options, path) / (options.use_rslora ? std::sqrt(r) : r);
}

}  // namespace tunefleet::tuners

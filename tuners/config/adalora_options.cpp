#include "tuners/config/adalora_options.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace tunefleet::tuners {
namespace {

constexpr Limits kShare{.min = 0.0, .max = 1.0, .above_min = true, .below_max = true};

std::vector<TunerOption> own_rows() {
  return {
      {.key = "init_r",
       .help = "Rank of every module at the start.",
       .ref = ref_of<&AdaloraOptions::init_r>,
       .limits = at_least(1)},
      {.key = "target_r",
       .help = "Mean rank of the modules at the end.",
       .ref = ref_of<&AdaloraOptions::target_r>,
       .limits = at_least(1)},
      {.key = "tinit",
       .help = "Steps before ranks begin to fall.",
       .ref = ref_of<&AdaloraOptions::tinit>,
       .limits = at_least(0)},
      {.key = "tfinal",
       .help = "Steps at the end in which ranks stay as they are.",
       .ref = ref_of<&AdaloraOptions::tfinal>,
       .limits = at_least(0)},
      {.key = "deltaT",
       .help = "Steps between two allocations of ranks.",
       .ref = ref_of<&AdaloraOptions::delta_t>,
       .limits = at_least(1)},
      {.key = "beta1",
       .help = "Of the running mean of importances.",
       .ref = ref_of<&AdaloraOptions::beta1>,
       .limits = kShare},
      {.key = "beta2",
       .help = "Of the running mean of their uncertainty.",
       .ref = ref_of<&AdaloraOptions::beta2>,
       .limits = kShare},
      {.key = "orth_reg_weight",
       .help = "Weight of the penalty that keeps the factors orthogonal.",
       .ref = ref_of<&AdaloraOptions::orth_reg_weight>,
       .limits = at_least(0)},
      {.key = "total_step",
       .help = "Steps of the whole run; unset: the job's.",
       .ref = ref_of<&AdaloraOptions::total_step>,
       .limits = at_least(1)},
      {.key = "rank_pattern",
       .help = "Written by training: what is left of each module.",
       .ref = ref_of<&AdaloraOptions::rank_pattern>},
      {.key = "lora_alpha",
       .help = "The update is scaled by lora_alpha / init_r.",
       .ref = ref_of<&AdaloraOptions::lora_alpha>,
       .whole_as_integer = true},
      {.key = "lora_dropout",
       .help = "Dropout on the update's input.",
       .ref = ref_of<&AdaloraOptions::lora_dropout>,
       .limits = from_to_below(0, 1)},
      {.key = "init_lora_weights",
       .help = "Start at zero; false: at random, for tests.",
       .ref = ref_of<&AdaloraOptions::init_lora_weights>},
      {.key = "r", .help = "Without effect, init_r is meant.", .ref = ref_of<&AdaloraOptions::r>}};
}

/// LoRA's fields, which PEFT's AdaLoRA inherits.
std::vector<FixedKey> fixed_rows() {
  std::vector<FixedKey> rows{{"ensure_weight_tying", "false"}, {"fan_in_fan_out", "false"},
                             {"lora_bias", "false"},           {"use_dora", "false"},
                             {"use_qalora", "false"},          {"layer_replication", "null"},
                             {"target_parameters", "null"},    {"trainable_token_indices", "null"}};
  for (const std::string_view key :
       {"alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config",
        "lora_ga_config", "megatron_config", "monteclora_config", "use_bdlora", "velora_config"}) {
    rows.push_back({.key = key, .json = "null", .ignored = true});
  }
  rows.push_back({.key = "alpha_pattern", .json = "{}", .ignored = true});
  rows.push_back({.key = "loftq_config", .json = "{}", .ignored = true});
  rows.push_back({.key = "megatron_core", .json = "\"megatron.core\"", .ignored = true});
  rows.push_back({.key = "qalora_group_size", .json = "16", .ignored = true});
  rows.push_back({.key = "use_rslora", .json = "false", .ignored = true});
  return rows;
}

bool is_pattern(const nlohmann::json& json) {
  if (json.is_null()) return true;
  if (!json.is_object()) return false;
  for (const auto& kept : json) {
    if (!kept.is_array()) return false;
    for (const auto& each : kept) {
      if (!each.is_boolean()) return false;
    }
  }
  return true;
}

Status validate(const AdaloraOptions& options) {
  if (!is_pattern(nlohmann::json::parse(options.rank_pattern.text, nullptr, false))) {
    return fail(ErrorCode::kInvalidArgument,
                "adalora option rank_pattern is not a map of lists of true and false");
  }
  return options.total_step ? check_schedule(options, *options.total_step) : Status{};
}

}  // namespace

Status check_schedule(const AdaloraOptions& options, int64_t total_step) {
  if (options.tinit < total_step - options.tfinal) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("adalora has no step in which ranks can fall, lower tinit or tfinal: "
                          "tinit {}, tfinal {}, total_step {}",
                          options.tinit, options.tfinal, total_step));
}

const TunerSchema& AdaloraOptions::schema() {
  static const TunerSchema schema{
      .name = "adalora",
      .peft_type = "ADALORA",
      .swift_type = {},
      .summary = "low-rank updates that share out a falling number of ranks",
      .source = "arXiv:2303.10512",
      .can_merge = true,
      .options = with_common_rows<AdaloraOptions>(own_rows(), true, {"none", "all", "lora_only"}),
      .fixed = fixed_rows(),
      .make = &make_options<AdaloraOptions>,
      .clone = &clone_options<AdaloraOptions>,
      .check = &checked<AdaloraOptions, &validate>,
      .rank_key = "init_r"};
  return schema;
}

}  // namespace tunefleet::tuners

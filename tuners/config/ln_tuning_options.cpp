#include "tuners/config/ln_tuning_options.h"

#include <map>
#include <string>
#include <vector>

namespace tunefleet::tuners {
namespace {

/// PEFT's TRANSFORMERS_MODELS_TO_LNTUNING_TARGET_MODULES_MAPPING.
const std::map<std::string_view, std::vector<std::string>>& default_norms() {
  static const std::vector<std::string> kLlama{"input_layernorm", "post_attention_layernorm",
                                               "norm"};
  static const std::vector<std::string> kGemma2{"input_layernorm", "post_attention_layernorm",
                                                "pre_feedforward_layernorm",
                                                "post_feedforward_layernorm", "norm"};
  static const std::vector<std::string> kQwen{"post_attention_layernorm"};
  static const std::map<std::string_view, std::vector<std::string>> table{
      {"gemma", kLlama},   {"gemma2", kGemma2}, {"gemma3_text", kGemma2}, {"llama", kLlama},
      {"mistral", kLlama}, {"qwen2", kQwen},    {"qwen3", kQwen}};
  return table;
}

}  // namespace

LnTuningOptions with_ln_tuning_defaults(LnTuningOptions options, std::string_view model_type) {
  const auto found = default_norms().find(model_type);
  auto& targets = options.modules.target_modules;
  if (found != default_norms().end() && targets.unset()) targets.names = found->second;
  return options;
}

const TunerSchema& LnTuningOptions::schema() {
  static const TunerSchema schema{.name = "ln_tuning",
                                  .peft_type = "LN_TUNING",
                                  .swift_type = {},
                                  .summary = "the norms of a model trained in full, as copies",
                                  .source = "arXiv:2312.11420",
                                  .can_merge = true,
                                  .options = with_common_rows<LnTuningOptions>({}, false),
                                  .make = &make_options<LnTuningOptions>,
                                  .clone = &clone_options<LnTuningOptions>};
  return schema;
}

}  // namespace tunefleet::tuners

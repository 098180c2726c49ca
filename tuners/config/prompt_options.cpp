#include "tuners/config/prompt_options.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace tunefleet::tuners {
namespace {

nlohmann::json parsed_value(const PromptOptions& options) {
  return nlohmann::json::parse(options.attention_mask_value.text, nullptr, false);
}

std::vector<TunerOption> option_rows() {
  return {{.key = "dim",
           .help = "Width of the prompt tokens; a list: one for each target.",
           .ref = ref_of<&PromptOptions::dim>,
           .limits = at_least(1),
           .required = true,
           .one_as_scalar = true},
          {.key = "target_modules",
           .help = "The blocks, by an expression for whole paths or by names; a path ends with the "
                   "block's number.",
           .ref = ref_of<&PromptOptions::target_modules>,
           .required = true},
          {.key = "embedding_pos",
           .help = "Which argument of a block holds the tokens.",
           .ref = ref_of<&PromptOptions::embedding_pos>},
          {.key = "attention_mask_pos",
           .help = "Which argument holds the attention mask; unset: it is left alone.",
           .ref = ref_of<&PromptOptions::attention_mask_pos>},
          {.key = "attention_mask_value",
           .help = "What the mask is at the prompt's columns.",
           .ref = ref_of<&PromptOptions::attention_mask_value>},
          {.key = "prompt_length",
           .help = "Prompt tokens at each block.",
           .ref = ref_of<&PromptOptions::prompt_length>,
           .limits = at_least(1)},
          {.key = "attach_front",
           .help = "Put the prompt before the tokens, not behind them.",
           .ref = ref_of<&PromptOptions::attach_front>},
          {.key = "extract_embedding",
           .help = "Take the prompt out of the last target's output.",
           .ref = ref_of<&PromptOptions::extract_embedding>}};
}

}  // namespace

Status validate(const PromptOptions& options) {
  if (options.target_modules.empty())
    return fail(ErrorCode::kInvalidArgument, "prompt needs target_modules: the blocks");
  if (options.dim.empty())
    return fail(ErrorCode::kInvalidArgument, "prompt needs dim: the width of the blocks' input");
  const auto value = parsed_value(options);
  if (value.is_number() || value.is_boolean()) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("prompt option attention_mask_value is not a number, true or false: {}",
                          options.attention_mask_value.text));
}

double mask_value(const PromptOptions& options) {
  const auto value = parsed_value(options);
  return value.is_boolean() ? static_cast<double>(value.get<bool>()) : value.get<double>();
}

const TunerSchema& PromptOptions::schema() {
  static const TunerSchema schema{
      .name = "prompt",
      .peft_type = {},
      .swift_type = "PROMPT",
      .summary = "visual prompt tuning: trained tokens among the input of a network's blocks",
      .source = "arXiv:2203.12119",
      .options = option_rows(),
      .make = &make_options<PromptOptions>,
      .clone = &clone_options<PromptOptions>,
      .check = &checked<PromptOptions, &validate>};
  return schema;
}

}  // namespace tunefleet::tuners

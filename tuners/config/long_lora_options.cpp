#include "tuners/config/long_lora_options.h"

#include "tuners/config/python_regex.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  std::vector<TunerOption> rows{
      {.key = "group_size_ratio",
       .help = "Length of a group of attention over that of the sequence.",
       .ref = ref_of<&LongLoraOptions::group_size_ratio>,
       .limits = {.min = 0, .max = 1, .above_min = true}},
      {.key = "embedder_and_normalizer",
       .help = "Parameters that train in full: parts of their paths, or one expression for whole "
               "paths.",
       .ref = ref_of<&LongLoraOptions::embedder_and_normalizer>},
      {.key = "model_type",
       .help = "Architecture whose attention ms-swift replaces: llama.",
       .ref = ref_of<&LongLoraOptions::model_type>}};
  const auto& lora = LoraOptions::schema().options;
  rows.insert(rows.end(), lora.begin(), lora.end());
  return rows;
}

/// LoRA's, and what ms-swift's LongLoRA alone leaves empty.
std::vector<FixedKey> fixed_rows() {
  auto rows = LoraOptions::schema().fixed;
  for (const std::string_view key : {"peft_type", "auto_mapping"})
    rows.push_back({.key = key, .json = "null", .ignored = true});
  rows.push_back({.key = "inference_mode", .json = "false", .ignored = true});
  return rows;
}

void normalise(void* options) {
  auto* own = static_cast<LongLoraOptions*>(options);
  LoraOptions::schema().normalise(static_cast<LoraOptions*>(own));
}

}  // namespace

Status validate(const LongLoraOptions& options) {
  const auto& expression = options.embedder_and_normalizer.regex;
  if (expression) {
    if (const auto regex = PythonRegex::compile(*expression); !regex)
      return fail("LongLoRA option embedder_and_normalizer", regex.error());
  }
  return validate(static_cast<const LoraOptions&>(options));
}

const TunerSchema& LongLoraOptions::schema() {
  static const TunerSchema schema{
      .name = "longlora",
      .peft_type = {},
      .swift_type = "longlora",
      .summary = "LoRA with attention in shifted groups in training, embeddings and norms in full",
      .source = "arXiv:2309.12307",
      .can_merge = true,
      .options = option_rows(),
      .fixed = fixed_rows(),
      .make = &make_options<LongLoraOptions>,
      .clone = &clone_options<LongLoraOptions>,
      .check = &checked<LongLoraOptions, &validate>,
      .normalise = &normalise};
  return schema;
}

}  // namespace tunefleet::tuners

#include "worker/trainer/prompt_text.h"

#include "tuners/config/virtual_token_options.h"
#include "worker/data/tokenizer.h"

namespace tunefleet::trainer {

Result<tuners::TunerOptions> with_text_ids(const tuners::TunerOptions& options,
                                           const std::filesystem::path& model_directory) {
  const auto* prompt = options.get_if<tuners::PromptTuningOptions>();
  if (prompt == nullptr || prompt->prompt_tuning_init != "TEXT" ||
      !prompt->prompt_tuning_init_ids.empty()) {
    return options;
  }
  const auto tokenizer = data::Tokenizer::load(model_directory);
  if (!tokenizer) return fail("prompt_tuning_init_text", tokenizer.error());
  const auto ids = tokenizer->encode(prompt->prompt_tuning_init_text.value_or(""),
                                     /*add_special_tokens=*/true);
  if (!ids) return fail("prompt_tuning_init_text", ids.error());
  if (ids->empty()) {
    return fail(ErrorCode::kInvalidArgument, "prompt_tuning_init_text has no tokens: \"" +
                                                 prompt->prompt_tuning_init_text.value_or("") +
                                                 "\"");
  }
  auto with_ids = *prompt;
  with_ids.prompt_tuning_init_ids.assign(ids->begin(), ids->end());
  return tuners::TunerOptions(with_ids);
}

}  // namespace tunefleet::trainer

#pragma once

#include <filesystem>

#include "proto/result.h"
#include "tuners/config/tuner_options.h"

namespace tunefleet::trainer {

/// The options of a new tuner with the token ids of its text, as the model's tokenizer gives them
/// (PEFT's too: with a begin-of-text token where the tokenizer adds one), when they are prompt
/// tuning that starts as a text and has none; any others as they are. kNotFound, kInvalidArgument:
/// no usable tokenizer.json in `model_directory`, or a text of no tokens.
Result<tuners::TunerOptions> with_text_ids(const tuners::TunerOptions& options,
                                           const std::filesystem::path& model_directory);

}  // namespace tunefleet::trainer

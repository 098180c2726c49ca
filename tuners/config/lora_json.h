#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/config/lora_options.h"

/// LoRA's adapter_config.json, in PEFT's form (0.21) and in ms-swift's, which has a few keys more.
namespace tunefleet::tuners {

struct ReadLoraOptions {
  LoraOptions options;                ///< `validate` has passed.
  std::vector<std::string> warnings;  ///< Keys nobody here knows: most likely of a later release.
};

/// Reads either form. kInvalidArgument, naming `file_name` and the key, for a wrong type or value,
/// and for settings under which the stored tensors mean something else than plain LoRA (use_dora,
/// pissa, target_parameters, …).
Result<ReadLoraOptions> read_lora_config(std::string_view text, const std::string& file_name);

/// Every key of PEFT 0.21.2 in its order and layout; what PEFT writes for the same settings.
/// lora_dtype and LoRA+'s keys do not exist there.
std::string peft_lora_config(const LoraOptions& options);
/// The same with swift_type and ms-swift's own keys.
std::string swift_lora_config(const LoraOptions& options);

}  // namespace tunefleet::tuners

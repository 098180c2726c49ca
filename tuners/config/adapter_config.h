#pragma once

#include <string>
#include <string_view>

#include "proto/result.h"

/// The file that says what an adapter is, as PEFT and ms-swift write it.
namespace tunefleet::tuners {

inline constexpr std::string_view kAdapterConfigFile = "adapter_config.json";
inline constexpr std::string_view kAdapterWeightsFile = "adapter_model.safetensors";
/// The PEFT release whose configuration keys we write.
inline constexpr std::string_view kPeftVersion = "0.21.2";

/// The two words that name an adapter's tuner; empty where the file has none. A PEFT file has no
/// swift_type; the file of ms-swift's LoRA has both.
struct AdapterKind {
  std::string peft_type;   ///< "LORA"
  std::string swift_type;  ///< "LORA"
};

/// Reads them from the text of adapter_config.json. kInvalidArgument, naming `file_name`, for text
/// that is not a JSON object or names no tuner.
Result<AdapterKind> read_adapter_kind(std::string_view text, const std::string& file_name);

}  // namespace tunefleet::tuners

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter_weights.h"
#include "tuners/swift_model.h"

namespace tunefleet::tuners {

/// Writes adapters as ms-swift does:
///   README.md, configuration.json ({}, if absent), <name>/adapter_config.json,
///   <name>/adapter_model.safetensors (or adapter_model.bin)
/// Keys: module path, lora_A.<name>.weight; trained copies of base parameters under the base's own
/// path. `names` empty: every adapter. kNotFound for a name that is not on the model, before
/// anything is written.
Status save_swift(const SwiftModel& model, const std::filesystem::path& directory,
                  const std::vector<std::string>& names = {},
                  WeightsForm form = WeightsForm::kSafetensors);

}  // namespace tunefleet::tuners

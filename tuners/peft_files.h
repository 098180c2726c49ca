#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/swift_model.h"

namespace tunefleet::tuners {

/// Writes adapters as PEFT does: "default" into `directory` itself, any other into a folder of its
/// name; README.md (a model card) in the root. Keys: `base_model.model.` + module path +
/// lora_A.weight. `names` empty: every adapter that PEFT has a format for; with none, nothing is
/// written. kNotFound for a name that is not on the model, kInvalidArgument for a tuner that PEFT
/// does not have, before anything is written.
Status save_peft(const SwiftModel& model, const std::filesystem::path& directory,
                 const std::vector<std::string>& names = {});

/// Whether PEFT has this kind of tuner.
bool has_peft_files(const Adapter& adapter);

/// The key under which PEFT stores a tensor: the prefix of its wrapper, then the plain key
/// (adapter_files.h).
std::string peft_key(std::string_view plain_key);

/// PEFT's folder of the adapter called `name` under `root`.
std::filesystem::path peft_folder(const std::filesystem::path& root, const std::string& name);

/// The short model card PEFT's tools look for.
std::string peft_model_card(const std::string& base_model);

}  // namespace tunefleet::tuners

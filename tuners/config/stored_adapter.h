#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/adapter_config.h"

/// Adapters on disk: which there are, and what their configurations say. No tensors here.
namespace tunefleet::tuners {

/// An adapter on disk, its configuration read but not yet understood.
struct StoredAdapter {
  std::string name;                 ///< Its folder's; "default" in the root of a PEFT folder.
  std::filesystem::path directory;  ///< Where the two files are.
  AdapterKind kind;
  std::string config_text;
};

/// The adapters in a directory: the one in its root ("default") and one for each sub-folder, sorted
/// by name. Takes a Swift checkpoint, a PEFT folder, and one adapter's own folder. A `peft`
/// sub-folder beside Swift adapters holds the same ones in the other layout and is left out: it is
/// one that has siblings and no adapter above it.
/// kNotFound when there is none; kInvalidArgument for a folder that mixes the layouts or carries
/// ms-swift's extra_states.
Result<std::vector<StoredAdapter>> list_adapters(const std::filesystem::path& directory);

/// Reads one adapter folder. kNotFound without adapter_config.json.
Result<StoredAdapter> read_stored_adapter(const std::filesystem::path& directory, std::string name);

}  // namespace tunefleet::tuners

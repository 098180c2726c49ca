#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/swift_model.h"

namespace tunefleet::trainer {

struct MergeRequest {
  std::string model;                  ///< A name under TUNEFLEET_MODELS, a directory; empty: as the
                                      ///< first adapter says.
  std::vector<std::string> adapters;  ///< Checkpoints or adapter directories, merged in this order.
  std::filesystem::path output;       ///< Absent or empty; "<first adapter>-merged" when not given.
  std::string dtype;                  ///< Of the written weights; empty: the model's own.
};

/// Writes a Hugging Face directory of the base with the adapters' updates in its weights: what
/// LLaMA PRO has added are layers of it. It appears complete or not at all. kInvalidArgument for an
/// adapter that cannot become part of the weights, by its name; kConflict for an output directory
/// that is not empty.
Status merge_adapters(const MergeRequest& request);

/// The directory of the base of these adapters: `wanted` by name or path, else the one that the
/// first adapter's configuration names.
Result<std::filesystem::path> base_of_adapters(const std::string& wanted,
                                               const std::vector<std::string>& adapters);

/// Loads every adapter of each directory for inference, under names that differ: the stored ones,
/// with "-2", "-3" … behind those that repeat. Returns the names on the model, in order. Errors:
/// Swift::from_pretrained.
Result<std::vector<std::string>> load_adapters(tuners::SwiftModel& swift,
                                               const std::vector<std::string>& directories);

}  // namespace tunefleet::trainer

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/weighted_adapter.h"

namespace tunefleet::trainer {

struct CombineRequest {
  std::string model;                  ///< As MergeRequest's.
  std::vector<std::string> adapters;  ///< Directories of one or several LoRA adapters.
  std::vector<double> weights;        ///< One for each adapter; none: 1 each.
  tuners::Combination how;
  std::filesystem::path output;  ///< A PEFT folder.
};

/// Writes one LoRA adapter that is all of them together, as PEFT's folder. Errors: load_adapters,
/// SwiftModel::add_weighted_adapter.
Status combine_adapters(const CombineRequest& request);

}  // namespace tunefleet::trainer

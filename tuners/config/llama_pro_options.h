#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's LLaMAProConfig: copies of layers put between the layers of a model, which alone train
/// (Wu et al. 2024, arXiv:2401.02415). Field names are the file's.
struct LlamaProOptions {
  static const TunerSchema& schema();

  /// ms-swift's name of the architecture, by which it finds the layers; unset: "llama", which
  /// stands for every decoder of the family. Has no effect here.
  std::optional<std::string> model_type{};
  /// Must divide the number of layers; how many are put in follows from num_groups.
  int64_t num_new_blocks = 0;
  /// Groups the layers are divided into: one copy follows each. Unset: num_new_blocks.
  std::optional<int64_t> num_groups{};

  bool operator==(const LlamaProOptions&) const = default;
};

}  // namespace tunefleet::tuners

#pragma once

#include <optional>
#include <string>

#include "proto/result.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/module_selection.h"

namespace tunefleet::tuners {

/// ms-swift's LongLoRAConfig: LoRA with attention in shifted groups while it trains (Chen et al.
/// 2023, arXiv:2309.12307). LoRA's options, and its own; field names and defaults are the file's.
/// Nothing but LoRA's members may come first: its rows of the schema are used for both.
struct LongLoraOptions : LoraOptions {
  static const TunerSchema& schema();

  /// Parameters of the base that train in full: parts of their paths, or an expression for the
  /// whole path.
  ModuleNames embedder_and_normalizer{.names = {"embed", "norm"}, .regex = {}};
  double group_size_ratio = 0.25;           ///< Length of a group over the sequence's, (0, 1].
  std::optional<std::string> model_type{};  ///< ms-swift patches "llama" alone; ours act on any.

  bool operator==(const LongLoraOptions&) const = default;
};

/// LoRA's rules, and that the expression compiles.
Status validate(const LongLoraOptions& options);

}  // namespace tunefleet::tuners

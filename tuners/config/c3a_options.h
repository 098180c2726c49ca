#pragma once

#include <cstdint>
#include <string>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's C3AConfig; field names and defaults are the file's.
struct C3aOptions {
  int64_t block_size = 256;               ///< Width of a circulant block; divides in and out.
  Pattern<int64_t> block_size_pattern{};  ///< block_size of single modules.
  /// true (zeros) | false (as xavier_uniform) | gaussian | kaiming_uniform | xavier_uniform
  std::string init_weights = "xavier_uniform";
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const C3aOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <string>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's MissConfig; field names and defaults are the file's.
struct MissOptions {
  int64_t r = 64;             ///< Width of the input's blocks, 1 <= r <= in.
  double miss_dropout = 0.0;  ///< Of the update's input in training, [0, 1); `bat` has none.
  int64_t mini_r = 1;         ///< With `mini`: columns that are repeated over the outputs.
  std::string init_weights = "true";  ///< true | false | bat | mini: which variant, and its start.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const MissOptions&) const = default;
  static const TunerSchema& schema();
};

/// PEFT's BoneConfig (up to 0.18), the older name of MiSS: the same mathematics, keys of its own.
struct BoneOptions {
  int64_t r = 64;                     ///< As in MissOptions.
  std::string init_weights = "true";  ///< true | false | bat
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const BoneOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

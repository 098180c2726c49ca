#pragma once

#include <cstdint>
#include <string>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's RoadConfig; field names and defaults are the file's.
struct RoadOptions {
  std::string variant = "road_1";  ///< How many angles a group has: half, one or two for an output.
  int64_t group_size = 64;         ///< Outputs i and i + group_size / 2 of a group are a pair.
  bool init_weights = true;        ///< False: at random, not the identity.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const RoadOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

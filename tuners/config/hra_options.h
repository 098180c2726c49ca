#pragma once

#include <cstdint>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's HRAConfig; field names and defaults are the file's.
struct HraOptions {
  int64_t r = 8;             ///< Number of reflections; even: starts as the identity.
  bool apply_GS = false;     ///< Orthonormalise the vectors first (Gram-Schmidt).
  bool init_weights = true;  ///< Equal pairs of vectors, which cancel; false: all at random.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const HraOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

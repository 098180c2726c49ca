#pragma once

#include <cstdint>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's FourierFTConfig; field names and defaults are the file's.
struct FourierftOptions {
  int64_t n_frequency = 1000;              ///< Trained entries of a layer's spectrum.
  double scaling = 150.0;                  ///< Factor of the update.
  int64_t random_loc_seed = 777;           ///< Chooses which entries.
  Pattern<int64_t> n_frequency_pattern{};  ///< n_frequency of single modules.
  bool init_weights = false;               ///< Zeros; false: N(0, 1), not the identity.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const FourierftOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

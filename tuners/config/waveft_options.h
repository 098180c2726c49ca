#pragma once

#include <cstdint>
#include <string>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's WaveFTConfig; field names and defaults are the file's.
struct WaveftOptions {
  int64_t n_frequency = 2592;              ///< Trained wavelet coefficients of a layer.
  double scaling = 25.0;                   ///< Factor of the update.
  std::string wavelet_family = "db1";      ///< Name of the wavelet (wavelet_filters.h).
  bool use_idwt = true;                    ///< False: the coefficients are entries of the weight.
  int64_t random_loc_seed = 777;           ///< Chooses which coefficients.
  Pattern<int64_t> n_frequency_pattern{};  ///< n_frequency of single modules.
  bool proportional_parameters = false;    ///< Share n_frequency out by the layers' sizes.
  bool init_weights = true;                ///< Zeros; false: N(0, 1e-4).
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const WaveftOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's VeraConfig; field names and defaults are the file's.
struct VeraOptions {
  int64_t r = 256;                  ///< Rows of the shared A, columns of the shared B.
  int64_t projection_prng_key = 0;  ///< Seed of A and B.
  bool save_projection = true;      ///< False: A and B are drawn anew from the key on loading.
  double vera_dropout = 0.0;        ///< Of the update's input, in training.
  double d_initial = 0.1;           ///< Where the inner scales start.
  bool init_weights = true;         ///< False: at random, not the identity.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const VeraOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

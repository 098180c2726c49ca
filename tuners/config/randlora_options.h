#pragma once

#include <cstdint>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's RandLoraConfig; field names and defaults are the file's.
struct RandloraOptions {
  int64_t r =
      32;  ///< Rank of each random basis: a smaller one needs more of them, and trains more.
  int64_t projection_prng_key = 0;  ///< Seed of the bases.
  bool save_projection = true;      ///< False: they are drawn anew from the key on loading.
  bool sparse = false;              ///< Bases of -1, 0 and 1 in the shares 1/6, 2/3, 1/6.
  bool very_sparse = false;         ///< Likewise, -1 and 1 in the share 1 / (2 sqrt(width)) each.
  double randlora_dropout = 0.0;    ///< Of the update's input, in training.
  double randlora_alpha = 640.0;    ///< The update is scaled by randlora_alpha / r.
  bool init_weights = true;         ///< False: at random, not the identity.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const RandloraOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

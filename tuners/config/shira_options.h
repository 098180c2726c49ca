#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's ShiraConfig; field names and defaults are the file's.
struct ShiraOptions {
  int64_t r = 32;                        ///< A layer trains r (in + out) of its weights.
  std::string mask_type = "random";      ///< The only one that files can name.
  std::optional<int64_t> random_seed{};  ///< Of the mask; unset: a fixed one.
  bool init_weights = true;              ///< False: N(0, 1) instead of zeros.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const ShiraOptions&) const = default;
  static const TunerSchema& schema();
};

}  // namespace tunefleet::tuners

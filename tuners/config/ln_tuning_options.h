#pragma once

#include <string_view>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's LNTuningConfig; field names and defaults are the file's.
struct LnTuningOptions {
  ModuleSelection modules{};  ///< Without layers and bias, which the file does not have.
  AdapterOrigin origin{};

  bool operator==(const LnTuningOptions&) const = default;
  static const TunerSchema& schema();
};

/// The norms of config.json's model_type, where no targets are named. Unknown types are left as
/// they are.
LnTuningOptions with_ln_tuning_defaults(LnTuningOptions options, std::string_view model_type);

}  // namespace tunefleet::tuners

#pragma once

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's PartConfig: modules trained in full, as copies.
struct PartOptions {
  static const TunerSchema& schema();

  /// One expression for whole paths (what files have), or names as PEFT matches them.
  ModuleNames target_modules{};

  bool operator==(const PartOptions&) const = default;
};

/// kInvalidArgument when nothing is named.
Status validate(const PartOptions& options);

}  // namespace tunefleet::tuners

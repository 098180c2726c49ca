#pragma once

#include "proto/result.h"
#include "tuners/config/module_selection.h"

namespace tunefleet::tuners {

/// layers_to_transform and layers_pattern narrow names, never an expression, and the pattern alone
/// says nothing: as in PEFT. kInvalidArgument otherwise.
Status check_layer_rules(const ModuleSelection& modules);

}  // namespace tunefleet::tuners

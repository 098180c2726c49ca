#pragma once

#include <variant>

#include "tuners/config/lora_options.h"

namespace tunefleet::tuners {

/// The options of any tuner we have: one alternative for each. A new tuner adds its own here and
/// one line in tuners/registry.cpp.
using TunerOptions = std::variant<LoraOptions>;

}  // namespace tunefleet::tuners

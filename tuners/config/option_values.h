#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tuners/config/tuner_schema.h"

/// Single option values to JSON and back.
namespace tunefleet::tuners {

/// As PEFT writes it: unset optionals and empty lists of names are null, whole numbers of
/// `whole_as_integer` options have no point.
nlohmann::json value_to_json(const TunerOption& option, const OptionRef& ref);

/// Sets the value. Returns "" or what is wrong with it ("not a whole number"). null leaves a plain
/// value alone, and unsets an optional, a list or names.
std::string value_from_json(const nlohmann::ordered_json& json, const OptionRef& ref);

}  // namespace tunefleet::tuners

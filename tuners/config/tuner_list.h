#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "tuners/config/adapter_config.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// The schemas of every tuner there is, by name. A plain list: a new tuner adds its line, and one
/// in tuners/registry.cpp that makes it.
const std::vector<const TunerSchema*>& tuner_schemas();

/// What to say of a name that is none of `names`: where a thing of that name is found (dora is an
/// option of lora), the nearest name, or all of them.
std::string no_such_tuner(std::string_view name, const std::vector<std::string_view>& names);

/// The tuner of that name in a job ("lora"). kInvalidArgument naming the nearest.
Result<const TunerSchema*> find_tuner_schema(std::string_view name);
/// The tuner that a file names, its swift_type first. kInvalidArgument listing the known ones.
Result<const TunerSchema*> find_tuner_schema(const AdapterKind& kind);

}  // namespace tunefleet::tuners

#pragma once

#include <string>
#include <vector>

#include "tuners/config/module_selection.h"
#include "tuners/config/target_match.h"
#include "tuners/config/tuner_options.h"

/// The common options of any tuner, found by their keys.
namespace tunefleet::tuners {

/// Where the tuner acts; members of keys that the tuner does not have keep their defaults.
ModuleSelection selection_of(const TunerOptions& options);

/// What the file is to say: names instead of "all linear layers", of the model type's default, and
/// of all-norm and all-embedding; the base's name where none is given. `targets`: what
/// target_modules match; `saved`: the modules that modules_to_save trains.
TunerOptions resolved(const TunerOptions& options, const std::vector<std::string>& targets,
                      const std::vector<std::string>& saved, const ModelModules& model,
                      const std::string& base_name);

}  // namespace tunefleet::tuners

#pragma once

#include <string>
#include <vector>

#include "tuners/config/target_match.h"
#include "tuners/config/tuner_options.h"

namespace tunefleet::tuners {

/// What a user has named and no module answers to, while others do: PEFT passes over it in silence.
/// One text for each, "target_modules: zz_proj, nearest q_proj": of target_modules and
/// exclude_modules given as lists, and the keys of patterns (rank_pattern, alpha_pattern).
/// `targets` are the layers that the tuner acts on.
std::vector<std::string> unmatched_names(const TunerOptions& options,
                                         const std::vector<std::string>& targets,
                                         const ModelModules& model);

}  // namespace tunefleet::tuners

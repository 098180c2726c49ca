#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "proto/job_spec.h"

namespace tunefleet {

/// A rule over several keys that a spec breaks, told at the key that is to be changed.
struct BrokenRule {
  std::string key;  ///< "lora_rank", or a place inside of its value: "tuners.style.r".
  std::string message;
};

/// All of them, in the order of the documentation; each key's own kind and limits are taken as
/// checked.
std::vector<BrokenRule> broken_rules(const JobSpec& spec);

/// Rules that are known further up only (tuners/config/job_options.h): what is broken in a spec
/// that keeps those above. May set keys that are not among the `given` ones to what they are then.
using JobCheck =
    std::function<std::vector<BrokenRule>(JobSpec& spec, const std::set<std::string>& given)>;

}  // namespace tunefleet

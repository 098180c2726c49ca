#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/job_spec.h"

namespace tunefleet {

/// A rule over several keys that a spec breaks, told at the key that is to be changed.
struct BrokenRule {
  std::string_view key;
  std::string message;
};

/// All of them, in the order of the documentation; each key's own kind and limits are taken as
/// checked.
std::vector<BrokenRule> broken_rules(const JobSpec& spec);

}  // namespace tunefleet

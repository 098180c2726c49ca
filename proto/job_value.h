#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/job_fields.h"
#include "proto/job_tree.h"
#include "proto/result.h"

namespace tunefleet {

/// Why a value does not fit its field. `subpath` names the part of it: "[2]", ".q_proj", or empty.
struct ValueError {
  std::string message;
  std::string subpath = {};
};

using ValueStatus = tl::expected<void, ValueError>;

/// Reads `node` into the member of `spec` that `field` names, checking kind, limits and allowed
/// values. Leaves the member alone when it does not fit.
ValueStatus read_value(const JobField& field, const JobNode& node, JobSpec& spec);

}  // namespace tunefleet

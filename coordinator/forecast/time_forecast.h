#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/queue/job_record.h"
#include "proto/job_spec.h"

namespace tunefleet::coordinator {

/// How fast jobs like one went.
struct SpeedHistory {
  int64_t jobs = 0;  ///< Finished ones that were looked at; 0: nothing is known.
  /// Ranks x seconds for one row: all their time over all their rows, so that long runs count more,
  /// whose start weighs less.
  double device_s_per_row = 0.0;
};

/// Of `jobs` those that succeeded on the same model, with the same tuners, method and number
/// format: the newest ones count. Pure.
SpeedHistory speed_of_jobs_like(const nlohmann::json& spec, const std::vector<JobRecord>& jobs);

}  // namespace tunefleet::coordinator

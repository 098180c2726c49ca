#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/job_spec.h"
#include "proto/step_count.h"

namespace tunefleet::coordinator {

/// How the true number of steps lies to the one that is told.
enum class Bound { kExact, kUpper, kLower };
std::string_view bound_name(Bound bound);

/// The steps of a job, as far as its rows tell them.
struct StepForecast {
  StepCount count;
  int64_t rows = 0;  ///< That are trained on.
  Bound bound = Bound::kExact;
  std::string note{};  ///< Why it is not exact; empty when it is.
};

/// `rows`: of the data set, as uploaded. `longest`: the most tokens a row can have; unset: not
/// known. `limit`: tokens that the model takes. The world size is the job's largest.
StepForecast forecast_steps(const JobSpec& spec, int64_t rows, std::optional<int64_t> longest,
                            int64_t limit);

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <string>

#include "coordinator/scheduler/planner.h"

namespace tunefleet::coordinator {

/// What would become of a job that is submitted now.
struct StartPreview {
  bool known = false;     ///< False: nobody plans here, as while another coordinator leads.
  Placement placement{};  ///< Where it would start at once; empty: it would wait.
  int64_t position = 0;   ///< In the queue; 0 when it starts at once.
  std::string reason{};   ///< Why it would wait, in words for people.
  int64_t estimated_start_ms = 0;  ///< Unix milliseconds; 0: not known.
};

/// Plans `input` with one job more. Nothing is started: the same plan() on a copy.
StartPreview preview_start(PlanInput input, const WaitingJob& job);

}  // namespace tunefleet::coordinator

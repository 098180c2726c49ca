#include "coordinator/scheduler/start_preview.h"

#include <algorithm>
#include <utility>

namespace tunefleet::coordinator {

StartPreview preview_start(PlanInput input, const WaitingJob& job) {
  input.waiting.push_back(job);
  const Plan decision = plan(input);
  const auto start = std::ranges::find(decision.starts, job.id, &PlannedStart::job);
  if (start != decision.starts.end()) {
    return {.known = true, .placement = start->placement, .estimated_start_ms = input.now_ms};
  }
  const auto wait = std::ranges::find(decision.waits, job.id, &PlannedWait::job);
  if (wait == decision.waits.end()) return {};
  return {.known = true,
          .position = wait->position,
          .reason = decision.reasons[wait->reason],
          .estimated_start_ms = wait->estimated_start_ms};
}

}  // namespace tunefleet::coordinator

#pragma once

#include <string>

#include "coordinator/fleet/fleet_state.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/scheduler/retry_policy.h"

namespace tunefleet::wire {
class GangEnded;
class RankBeat;
class RankFailure;
}  // namespace tunefleet::wire

namespace tunefleet::coordinator {

/// Where a running job goes when its gang has ended, and what is written with it. Pure.
struct GangOutcome {
  JobPhase phase = JobPhase::kFailed;
  TransitionChange change{};
};

/// The outcome of an agent's GangEnded for `job`, which runs. A job that was to be cancelled is
/// cancelled however its ranks ended: a cancel is never lost. One that was to be paused or
/// preempted goes there, unless it came to its own end first. A failure is tried again or final, as
/// decide_retry() says. `condemned`: why the coordinator itself stopped the gang, or null. A
/// result, when there is one, is kept. `now_ms` by the store's clock.
GangOutcome outcome_of(const wire::GangEnded& ended, const JobRecord& job,
                       const AttemptFailure* condemned, const RetryLimits& limits, int64_t now_ms);

/// The outcome of a gang about which an agent says nothing more; `failure` is what
/// failure_of_need() makes of it.
GangOutcome outcome_of(const AttemptFailure& failure, const JobRecord& job,
                       const RetryLimits& limits, int64_t now_ms);
/// `need` is one of the kFail… values; `host` the agent to blame.
AttemptFailure failure_of_need(GangNeed need, const std::string& host, const FleetTimes& times);

/// "rank 1 on host-a was killed by SIGKILL", "rank 0 on host-a failed: <its own words>", "host-a:
/// <what mpirun says>".
std::string failure_sentence(const wire::RankFailure& failure);

/// What JobRecord::progress holds: the beat's fields under their wire names.
nlohmann::json progress_of(const wire::RankBeat& beat);

}  // namespace tunefleet::coordinator

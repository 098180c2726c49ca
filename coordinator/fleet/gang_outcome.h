#pragma once

#include <string>

#include "coordinator/fleet/fleet_state.h"
#include "coordinator/queue/job_store.h"

namespace tunefleet::wire {
class GangEnded;
class RankBeat;
class RankFailure;
}  // namespace tunefleet::wire

namespace tunefleet::coordinator {

/// How a running job ends: the phase it goes to and what is written with it. Pure.
struct GangOutcome {
  JobPhase phase = JobPhase::kFailed;
  TransitionChange change{};
};

/// The outcome of an agent's GangEnded. A job that was to be cancelled is cancelled however its
/// ranks ended: a cancel is never lost. Its result, when there is one, is kept.
GangOutcome outcome_of(const wire::GangEnded& ended, bool cancel_requested);

/// The outcome of a gang the agent says nothing more about; `need` is one of the kFail… values.
GangOutcome outcome_of(GangNeed need, const GangState& gang, const FleetTimes& times);

/// "rank 1 on host-a was killed by SIGKILL", "rank 0 on host-a failed: <its own words>", "host-a:
/// <what mpirun says>".
std::string failure_sentence(const wire::RankFailure& failure);

/// What JobRecord::progress holds: the beat's fields under their wire names.
nlohmann::json progress_of(const wire::RankBeat& beat);

}  // namespace tunefleet::coordinator

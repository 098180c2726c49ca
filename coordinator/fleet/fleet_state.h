#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/fleet/fleet_service.h"
#include "coordinator/fleet/progress_watch.h"
#include "coordinator/queue/job_record.h"
#include "coordinator/scheduler/planner.h"
#include "coordinator/scheduler/retry_policy.h"

namespace tunefleet::wire {
class AgentBeat;
}

namespace tunefleet::coordinator {

/// One start of a job. The attempt fences everything said about it.
struct GangId {
  std::string job{};
  int64_t attempt = 0;
  auto operator<=>(const GangId&) const = default;
};

/// What an agent has of a gang, by its own word (wire::GangRole).
enum class GangRole { kLead, kMember, kReserved };

/// What the coordinator knows of an agent: its newest beat.
struct AgentState {
  std::string host{};
  std::string peer{};  ///< The ROUTER's name of its connection; a new one after each reconnect.
  int64_t slots = 0;
  bool cuda = false;
  bool alive = false;
  int64_t last_beat_ms = 0;
  std::map<GangId, GangRole> gangs{};  ///< What runs there, or has slots kept.
};

/// A running job, as the coordinator follows it. Times are 0 when the thing has not happened.
struct GangState {
  GangId id{};
  Placement placement{};  ///< At least one part; the first agent leads.
  StopReason stop = StopReason::kNone;
  int64_t resize_to = 0;       ///< Ranks it is to go on with; 0: not resized by this coordinator.
  int64_t known_since_ms = 0;  ///< Started or adopted by this coordinator.
  bool listed = false;         ///< In the lead's newest beat.
  bool was_listed = false;     ///< In any beat so far.
  int64_t missing_since_ms =
      0;  ///< First beat of a living lead that did not list it, since it last did.
  int64_t first_start_ms = 0;  ///< StartGang first sent.
  int64_t start_sent_ms = 0;
  int64_t stop_sent_ms = 0;
  int64_t end_heard_ms = 0;  ///< A GangEnded arrived that could not be stored yet.
  ProgressWatch progress{};
  std::optional<AttemptFailure> condemned{};  ///< Being stopped because it hangs.

  const std::string& lead() const { return placement[0].host; }
};

/// Slots that are being kept on several agents for a gang that has not started. The job still waits
/// in the store; its next attempt will be `id.attempt`.
///
///   asked --all have granted--> (started)      --refused, or `reservation_limit`--> (released)
struct GangReservation {
  GangId id{};
  Placement placement{};
  int64_t since_ms = 0;
  int64_t sent_ms = 0;
  std::set<std::string> granted{};  ///< Hosts whose newest beat lists it.
  std::string refused{};            ///< Why it cannot be; empty: nobody has said so.

  bool complete() const { return granted.size() == placement.size(); }
};

/// The fleet as a value: no clock, no socket, no lock, no store.
struct FleetState {
  std::map<std::string, AgentState> agents{};  ///< By host.
  std::map<std::string, GangState> gangs{};    ///< By job: a job has one running attempt.
  std::map<std::string, GangReservation> reservations{};  ///< By job.
};

/// How long things may take before they count as failures, in milliseconds.
struct FleetTimes {
  int64_t agent_dead = 3'000;  ///< Without a beat.
  /// After that, before its gangs go on elsewhere: a network that hiccups costs no work.
  int64_t agent_lost_grace = 6'000;
  /// The same where no other agent could run the gang: waiting for the lost one is all there is.
  int64_t sole_agent_grace = 600'000;
  int64_t adoption_grace = 60'000;  ///< For an agent not heard of since this coordinator started.
  int64_t start_limit = 15'000;     ///< From StartGang to a beat that lists the gang.
  int64_t missing_limit = 5'000;    ///< From a beat that no longer lists it to GangEnded.
  int64_t resend_start = 1'000;
  int64_t resend_stop = 2'000;
  int64_t end_patience = 10'000;      ///< For a GangEnded that was heard to be heard again.
  int64_t reservation_limit = 3'000;  ///< For all agents of a gang to keep its slots.
  int64_t reservation_ttl = 10'000;   ///< How long an agent keeps them when it hears nothing more.
  HangTimes hang{};
};

/// Takes an agent's beat in: it replaces what was known of the agent, and says which gangs are
/// there. Returns whether the planner should look again: a new or revived agent, or other slots.
bool take_beat(FleetState& state, const std::string& peer, const wire::AgentBeat& beat,
               int64_t now_ms);

/// Marks agents dead whose last beat is too old; returns their hosts. When the coordinator itself
/// stood still for `stalled_ms`, beats that could not be read count as in time.
std::vector<std::string> find_dead_agents(FleetState& state, const FleetTimes& times,
                                          int64_t now_ms, int64_t stalled_ms);

/// Makes the gangs those of the store's running jobs: adopts what another coordinator (or this one,
/// before a restart) started, lets go of what ended, notes what they are to stop for.
void take_running(FleetState& state, const std::vector<JobRecord>& running, int64_t now_ms);

/// What a gang needs now.
///
///   start sent --listed--> runs --to be stopped--> stop sent --GangEnded--> (out of the state)
///     |  ^resend             |  not listed for missing_limit -> kFailMissing
///     +- start_limit -> kFailNotStarted       an agent of it silent -> kFailAgentLost
enum class GangNeed { kNothing, kStart, kStop, kFailNotStarted, kFailMissing, kFailAgentLost };
GangNeed need_of(const GangState& gang, const FleetState& state, const FleetTimes& times,
                 int64_t now_ms);

/// The agent of the gang that has been silent longest; empty when all are heard.
std::string silent_host(const GangState& gang, const FleetState& state);

/// Gangs an agent lists that are not (or no longer) the store's: leftovers to be stopped or
/// released.
std::map<GangId, GangRole> strangers_on(const FleetState& state, const AgentState& agent);

/// The planner's view. An agent with strangers offers nothing until they are gone.
std::vector<AgentSlots> offered_slots(const FleetState& state);
std::vector<AgentView> agent_views(const FleetState& state);

}  // namespace tunefleet::coordinator

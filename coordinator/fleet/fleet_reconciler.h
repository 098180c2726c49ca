#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/fleet/exec_relay.h"
#include "coordinator/fleet/fleet_plan.h"
#include "coordinator/fleet/fleet_service.h"
#include "coordinator/fleet/fleet_state.h"
#include "coordinator/fleet/gang_outcome.h"
#include "coordinator/queue/job_store.h"
#include "proto/wire_version.h"

namespace tunefleet::wire {
class Envelope;
class ReservationRefused;
}  // namespace tunefleet::wire

namespace tunefleet::coordinator {

/// Of every job that waits, by its id.
using QueuePositions = std::unordered_map<std::string, QueuePosition>;

struct ReconcilerOptions {
  std::filesystem::path jobs_directory{};  ///< Absolute.
  /// Makes a job's run directory ready for its next attempt; prepare_run_directory() in the
  /// service.
  std::function<Result<std::filesystem::path>(const JobRecord&)> prepare{};
  int64_t leader = 0;  ///< Generation of this coordinator's leadership; 0: alone, without one.
  std::function<int64_t()> unix_ms{};  ///< The store's clock: what not_before_ms is compared with.
  std::string rank_endpoint{};         ///< Where ranks report to; empty: where their agent does.
  int64_t stop_grace_ms = 10'000;      ///< The planner counts with it, too: policy.stop_takes_ms.
  FleetTimes times{};
  RetryLimits retries{};
  PlanPolicy policy{};
  std::vector<TenantPolicy> tenants{};  ///< Those with other than the usual weight and quota.
};

/// Makes the fleet match the queue: takes messages and ticks in, moves jobs through the store,
/// sends messages out. Does its I/O through what the constructor gets, knows no socket and no
/// clock, and is used by one thread.
///
/// Order is always: store, then tell. A GangEnded is acknowledged once its transition is stored, so
/// that a store that is away loses nothing; StartGang follows the transition to running, and is
/// sent again until the agent lists the gang.
class FleetReconciler {
 public:
  /// Sends to a connection; may fail silently (what matters is sent again).
  using Send = std::function<void(const std::string& peer, wire::Envelope envelope)>;

  FleetReconciler(JobStore& store, ReconcilerOptions options, Send send);

  /// Takes one message in. `now_ms` is any clock that only goes forward.
  void on_message(const std::string& peer, const wire::Envelope& envelope, int64_t now_ms);
  /// Once a second, and after messages: finds dead agents, plans, starts, stops, gives up on what
  /// is lost.
  void on_tick(int64_t now_ms);
  /// The queue has changed: the next on_tick() reads it.
  void look_again() { queue_changed_ = true; }
  /// Whether on_tick() should run now rather than at the next second.
  bool wants_tick() const { return queue_changed_ && !store_away_; }
  /// Whether this leadership is over: another coordinator has led since, even if this process leads
  /// again under the newer `generation`. Nothing may be done in its name any more.
  bool outlived(int64_t generation) const { return fenced_ || generation != options_.leader; }

  std::vector<AgentView> agents() const { return agent_views(state_); }
  /// As the newest plan has them; never changed once they are given out.
  std::shared_ptr<const QueuePositions> positions() const { return positions_; }
  /// What the planner last decided on; null before it first did. Never changed once it is there.
  std::shared_ptr<const PlanInput> planned() const { return planned_; }

 private:
  void take_gang_ended(const std::string& peer, const wire::Envelope& envelope, int64_t now_ms);
  void take_rank_beat(const wire::Envelope& envelope, int64_t now_ms);
  void take_rank_event(const std::string& peer, const wire::Envelope& envelope);
  void take_refusal(const wire::ReservationRefused& refused);
  void acknowledge(const std::string& peer, const wire::Envelope& envelope);

  void flush_progress();
  bool read_queue(int64_t now_ms);
  void carry_out_plan(const std::vector<JobRecord>& queued, const std::vector<JobRecord>& running,
                      int64_t now_ms);
  void carry_out_stops(const Plan& decision);
  void drop_idle_reservations(const std::vector<JobRecord>& queued);
  void reserve(const JobRecord& job, const Placement& placement, int64_t now_ms);
  void serve_reservations(int64_t now_ms);
  bool start_reserved(const GangReservation& reservation, int64_t now_ms);
  void release(const GangReservation& reservation);
  bool start_waiting(const JobRecord& waiting, const Placement& placement, int64_t now_ms);
  bool start(const JobRecord& job, const Placement& placement, int64_t now_ms);
  void refuse_start(const JobRecord& job, const Error& error);
  void serve_gangs(int64_t now_ms);
  void stop_hanging(GangState& gang, int64_t now_ms);
  void give_up(const GangId& id, const AttemptFailure& failure);
  void stop_strangers(int64_t now_ms);
  void send_start(GangState& gang, const AgentState& agent, int64_t now_ms);
  void send_stop(const GangId& id, const std::string& peer, const std::string& reason);
  void send_reserve(const GangReservation& reservation, const GangPart& part);
  void send_release(const GangId& id, const std::string& peer);
  /// Stores what becomes of a running job; `outcome_for` is asked again when somebody changed the
  /// job in between. True when it is stored, or can never be (another attempt, a final phase, an
  /// unknown job).
  bool settle(const GangId& id, const std::function<GangOutcome(const JobRecord&)>& outcome_for);
  /// True when the store has answered and will answer the same again: there is nothing to wait for.
  /// False when the call should be made again later; the log is told.
  bool decided(const Error& error);

  JobStore& store_;
  ReconcilerOptions options_;
  Send send_;
  FleetState state_;
  ExecRelay relay_;
  std::shared_ptr<QueuePositions> positions_ = std::make_shared<QueuePositions>();
  std::shared_ptr<const PlanInput> planned_;
  TenantUsage usage_;
  std::map<std::string, std::pair<int64_t, nlohmann::json>>
      progress_;                                 ///< Job -> (attempt, newest beat of rank 0).
  std::map<GangId, int64_t> strangers_stopped_;  ///< When StopGang was last sent to a stranger.
  bool queue_changed_ = true;
  bool queue_read_ = false;  ///< The running jobs are known: strangers can be told from ours.
  bool store_away_ = false;
  bool fenced_ = false;
  int64_t queue_read_ms_ = 0;
  int64_t due_ms_ = 0;  ///< When the first waiting job may be tried again, in unix_ms(); 0: none.
  int64_t last_tick_ms_ = 0;
  uint64_t sequence_ = 0;
};

}  // namespace tunefleet::coordinator

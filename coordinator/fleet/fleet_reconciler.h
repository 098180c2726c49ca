#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "coordinator/fleet/fleet_service.h"
#include "coordinator/fleet/fleet_state.h"
#include "coordinator/fleet/gang_outcome.h"
#include "coordinator/queue/job_store.h"
#include "proto/wire_version.h"

namespace tunefleet::wire {
class Envelope;
}

namespace tunefleet::coordinator {

struct ReconcilerOptions {
  std::filesystem::path jobs_directory{};
  std::string rank_endpoint{};  ///< Where ranks report to; empty: where their agent does.
  int64_t stop_grace_ms = 10'000;
  FleetTimes times{};
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

  std::vector<AgentView> agents() const { return agent_views(state_); }
  const std::map<std::string, QueuePosition>& positions() const { return positions_; }

 private:
  void take_gang_ended(const std::string& peer, const wire::Envelope& envelope, int64_t now_ms);
  void take_rank_beat(const wire::Envelope& envelope);
  void take_rank_event(const std::string& peer, const wire::Envelope& envelope);
  void acknowledge(const std::string& peer, const wire::Envelope& envelope);

  void flush_progress();
  bool read_queue(int64_t now_ms);
  void start_planned(const std::vector<JobRecord>& queued, int64_t now_ms);
  bool start(const JobRecord& job, const std::string& host, int64_t now_ms);
  void refuse_start(const JobRecord& job, const Error& error);
  void serve_gangs(int64_t now_ms);
  void stop_strangers(int64_t now_ms);
  void send_start(GangState& gang, const AgentState& agent, int64_t now_ms);
  void send_stop(const GangId& id, const std::string& peer, const std::string& reason);
  /// Stores an outcome. True when it is stored, or can never be (another attempt, a final phase, an
  /// unknown job).
  bool settle(const GangId& id, const GangOutcome& outcome);
  /// True when the store has answered and will answer the same again: there is nothing to wait for.
  /// False when the call should be made again later; the log is told.
  bool decided(const Error& error);

  JobStore& store_;
  ReconcilerOptions options_;
  Send send_;
  FleetState state_;
  std::map<std::string, QueuePosition> positions_;
  std::map<std::string, std::pair<int64_t, nlohmann::json>>
      progress_;                                 ///< Job -> (attempt, newest beat of rank 0).
  std::map<GangId, int64_t> strangers_stopped_;  ///< When StopGang was last sent to a stranger.
  bool queue_changed_ = true;
  bool queue_read_ = false;  ///< The running jobs are known: strangers can be told from ours.
  bool store_away_ = false;
  int64_t queue_read_ms_ = 0;
  int64_t last_tick_ms_ = 0;
  uint64_t sequence_ = 0;
};

}  // namespace tunefleet::coordinator

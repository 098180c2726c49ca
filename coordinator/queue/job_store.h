#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/queue/job_record.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// What a transition writes beside the phase. Empty members leave the stored value.
struct TransitionChange {
  /// Generation of the leader that asks for it; 0: not the leader's doing. kPermissionDenied when
  /// another coordinator leads by now: nothing was changed, and the caller has to step down.
  int64_t leader = 0;
  std::optional<Placement> placement{};  ///< Of a start; its ranks become `workers`.
  std::optional<int64_t> not_before_ms{};
  std::optional<std::vector<std::string>> excluded_hosts{};
  std::optional<FailureCounts> failures{};
  std::optional<bool> half_batch{};
  std::optional<Error> error{};
  std::optional<nlohmann::json> failure{};
  std::optional<nlohmann::json> result{};
  std::string event_level = "info";
  std::string event_message{};  ///< Every transition tells its event.
  nlohmann::json event_data{};
};

/// Where a transition has left a job. What else it changed its caller gave, or asks get() for.
struct JobStanding {
  JobPhase phase = JobPhase::kQueued;
  int64_t attempt = 0;
  StopReason stop = StopReason::kNone;
};

/// The right to act for the fleet, until `until_ms` by the store's clock.
struct Leadership {
  int64_t generation = 0;  ///< Counted up each time another process leads.
  int64_t until_ms = 0;
};

struct JobPage {
  std::vector<JobRecord> jobs{};  ///< Newest first.
  bool has_more = false;
};

struct EventPage {
  std::vector<JobEventRecord> events{};
  bool has_more = false;
};

/// The durable queue: the one truth about jobs. Every method is one atomic step and safe to call
/// from any thread. kUnavailable when the store does not answer (nothing was changed, or the same
/// call again finds it done).
class JobStore {
 public:
  virtual ~JobStore() = default;

  /// Stores a new job (phase validating_files or queued) with its first event. `idempotency_key`,
  /// when not empty and used within the last ten minutes by the same owner, returns the job made
  /// then.
  virtual Result<JobRecord> create(const JobRecord& job, const std::string& idempotency_key) = 0;
  virtual Result<JobRecord> get(const std::string& id) = 0;
  /// Jobs of `owner` (empty: all), after the job `after` (empty: from the newest).
  virtual Result<JobPage> list(const std::string& owner, const std::string& after,
                               int64_t limit) = 0;
  /// The jobs of a sweep, oldest first; none for an unknown one.
  virtual Result<std::vector<JobRecord>> in_group(const std::string& group) = 0;
  /// Jobs waiting: priority, then age; of spec and request what for_plan() keeps. Not of one
  /// moment.
  virtual Result<std::vector<JobRecord>> queued() = 0;
  /// Oldest first. Not of one moment.
  virtual Result<std::vector<JobRecord>> running() = 0;

  /// Moves `id` from `from` to `to` if it is in `from` and its attempt is `attempt`; kConflict
  /// otherwise, and for a job that is to be cancelled or paused and would be queued again. queued
  /// -> running increments the attempt.
  virtual Result<JobStanding> transition(const std::string& id, int64_t attempt, JobPhase from,
                                         JobPhase to, const TransitionChange& change) = 0;
  /// Asks a job to stop; `reason` is not kNone, `message` is told in the event log (empty: the
  /// usual words). Cancel and pause of a job that does not run happen at once; of one that runs
  /// when its gang has stopped. Asking twice, or for something weaker than before, changes nothing.
  /// kConflict for a finished job, and when a job that does not run is to be preempted or resized.
  /// `leader`: as in TransitionChange.
  virtual Result<JobRecord> request_stop(const std::string& id, StopReason reason,
                                         const std::string& message, int64_t leader) = 0;
  /// Lets a paused job wait for slots again. One that is still stopping will be queued again as
  /// soon as it has; one that waits or runs is left as it is. kConflict for a finished job and for
  /// one that is being cancelled.
  virtual Result<JobRecord> resume(const std::string& id) = 0;

  /// Appends to the job's event log. `source_number` > 0 (a RankEvent's number) is stored once per
  /// attempt; a repeat is accepted and dropped.
  virtual Status append_event(const std::string& id, int64_t attempt, int64_t source_number,
                              const JobEventRecord& event) = 0;
  /// Events with number < before (0: the newest), newest first.
  virtual Result<EventPage> events_before(const std::string& id, int64_t before, int64_t limit) = 0;
  /// Events with number > after, oldest first: what a follower asks for.
  virtual Result<EventPage> events_after(const std::string& id, int64_t after, int64_t limit) = 0;
  /// The number of the event with that id; kNotFound.
  virtual Result<int64_t> event_number(const std::string& id, const std::string& event_id) = 0;

  /// The newest beat of a running job; dropped when the attempt is old. Not durable on purpose.
  virtual Status set_progress(const std::string& id, int64_t attempt,
                              const nlohmann::json& progress) = 0;

  /// Takes or renews the leadership for `ttl_ms`. `place` names what only one process can hold at a
  /// time (a locked data directory): another process of the same place takes over at once, since
  /// the earlier one is dead; one of another place waits until the lease has run out (kConflict,
  /// naming the leader and the time left). `process` tells processes apart.
  virtual Result<Leadership> lead(const std::string& place, const std::string& process,
                                  int64_t ttl_ms) = 0;
  /// Gives the leadership back, if `process` still has it.
  virtual Status resign(const std::string& process) = 0;

  /// kUnavailable with the reason when the store cannot be used.
  virtual Status ping() = 0;
};

/// Opens the store in Redis. `url`: unix:///path/redis.sock or redis://host:port/db. kConflict when
/// an earlier tunefleet has stored its queue there in another form.
Result<std::unique_ptr<JobStore>> open_redis_job_store(const std::string& url);
/// The same rules in memory, for tests.
std::unique_ptr<JobStore> make_memory_job_store(std::function<int64_t()> now_ms);

}  // namespace tunefleet::coordinator

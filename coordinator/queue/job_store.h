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
  std::optional<std::string> agent{};
  std::optional<Error> error{};
  std::optional<nlohmann::json> failure{};
  std::optional<nlohmann::json> result{};
  std::string event_level = "info";
  std::string event_message{};  ///< Every transition tells its event.
  nlohmann::json event_data{};
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
  /// Jobs waiting, in the order they will be looked at: priority, then age.
  virtual Result<std::vector<JobRecord>> queued() = 0;
  virtual Result<std::vector<JobRecord>> running() = 0;

  /// Moves `id` from `from` to `to` if it is in `from` and its attempt is `attempt`; kConflict
  /// otherwise. queued -> running increments the attempt and returns the new record.
  virtual Result<JobRecord> transition(const std::string& id, int64_t attempt, JobPhase from,
                                       JobPhase to, const TransitionChange& change) = 0;
  /// Marks a job as to be cancelled: a queued one is cancelled at once, a running one when its gang
  /// has stopped. kConflict for a finished job.
  virtual Result<JobRecord> request_cancel(const std::string& id) = 0;

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

  /// kUnavailable with the reason when the store cannot be used.
  virtual Status ping() = 0;
};

/// Opens the store in Redis. `url`: unix:///path/redis.sock or redis://host:port/db.
Result<std::unique_ptr<JobStore>> open_redis_job_store(const std::string& url);
/// The same rules in memory, for tests.
std::unique_ptr<JobStore> make_memory_job_store(std::function<int64_t()> now_ms);

}  // namespace tunefleet::coordinator

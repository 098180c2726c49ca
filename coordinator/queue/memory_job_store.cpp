#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "coordinator/queue/job_rules.h"
#include "coordinator/queue/job_store.h"

namespace tunefleet::coordinator {
namespace {

struct StoredJob {
  JobRecord record;
  int64_t sequence = 0;
  std::vector<JobEventRecord> events;          ///< Number n stands at n - 1.
  std::set<std::pair<int64_t, int64_t>> told;  ///< (attempt, source number) of stored events.
};

/// JobStore in one process' memory: the rules of the Lua scripts, one mutex in Redis' place.
class MemoryJobStore : public JobStore {
 public:
  explicit MemoryJobStore(std::function<int64_t()> now_ms) : now_ms_(std::move(now_ms)) {}

  Result<JobRecord> create(const JobRecord& job, const std::string& idempotency_key) override;
  Result<JobRecord> get(const std::string& id) override;
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t limit) override;
  Result<std::vector<JobRecord>> queued() override;
  Result<std::vector<JobRecord>> running() override;
  Result<JobRecord> transition(const std::string& id, int64_t attempt, JobPhase from, JobPhase to,
                               const TransitionChange& change) override;
  Result<JobRecord> request_cancel(const std::string& id) override;
  Status append_event(const std::string& id, int64_t attempt, int64_t source_number,
                      const JobEventRecord& event) override;
  Result<EventPage> events_before(const std::string& id, int64_t before, int64_t limit) override;
  Result<EventPage> events_after(const std::string& id, int64_t after, int64_t limit) override;
  Result<int64_t> event_number(const std::string& id, const std::string& event_id) override;
  Status set_progress(const std::string& id, int64_t attempt,
                      const nlohmann::json& progress) override;
  Status ping() override { return {}; }

 private:
  /// The methods below want mutex_ held.
  Result<StoredJob*> find(const std::string& id);
  std::vector<const StoredJob*> in_phase(JobPhase phase) const;
  void tell(StoredJob& job, JobEventRecord event);
  void tell(StoredJob& job, std::string level, std::string message, nlohmann::json data = nullptr);

  std::function<int64_t()> now_ms_;
  std::mutex mutex_;
  std::map<std::string, StoredJob> jobs_;  ///< By id.
  std::map<std::pair<std::string, std::string>, std::pair<std::string, int64_t>>
      idempotency_;  ///< (owner, key) -> (job, used at ms).
  int64_t sequence_ = 0;
};

tl::unexpected<Error> no_such_job(const std::string& id) {
  return fail(ErrorCode::kNotFound, fmt::format("no such job: {}", id));
}

Result<StoredJob*> MemoryJobStore::find(const std::string& id) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return no_such_job(id);
  return &found->second;
}

void MemoryJobStore::tell(StoredJob& job, JobEventRecord event) {
  event.number = static_cast<int64_t>(job.events.size()) + 1;
  event.id = event_id(job.record.id, event.number);
  if (event.created_at_ms == 0) event.created_at_ms = now_ms_();
  job.events.push_back(std::move(event));
}

void MemoryJobStore::tell(StoredJob& job, std::string level, std::string message,
                          nlohmann::json data) {
  tell(job, JobEventRecord{.id = "",
                           .number = 0,
                           .level = std::move(level),
                           .type = "message",
                           .message = std::move(message),
                           .data = std::move(data),
                           .created_at_ms = 0});
}

Result<JobRecord> MemoryJobStore::create(const JobRecord& job, const std::string& idempotency_key) {
  if (job.phase != JobPhase::kValidatingFiles && job.phase != JobPhase::kQueued) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a new job starts as validating_files or queued: {} is {}", job.id,
                            phase_name(job.phase)));
  }
  const std::lock_guard lock(mutex_);
  const auto key = std::make_pair(job.owner, idempotency_key);
  if (const auto used = idempotency_.find(key);
      used != idempotency_.end() && now_ms_() - used->second.second < kIdempotencyWindowMs) {
    return jobs_.at(used->second.first).record;
  }
  const std::string id = job.id.empty() ? new_job_id() : job.id;
  if (jobs_.contains(id)) {
    return fail(ErrorCode::kConflict, fmt::format("there is a job of that id: {}", id));
  }
  StoredJob& stored = jobs_[id];
  stored.sequence = ++sequence_;
  stored.record = JobRecord{.id = id,
                            .owner = job.owner,
                            .phase = job.phase,
                            .priority = job.priority,
                            .workers = job.workers,
                            .created_at_ms = now_ms_(),
                            .spec = job.spec,
                            .request = job.request};
  tell(stored, "info", fmt::format("Created fine-tuning job: {}", id));
  if (!idempotency_key.empty()) idempotency_[key] = {id, now_ms_()};
  return stored.record;
}

Result<JobRecord> MemoryJobStore::get(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto job = find(id);
  if (!job) return fail(job.error());
  return (*job)->record;
}

Result<JobPage> MemoryJobStore::list(const std::string& owner, const std::string& after,
                                     int64_t limit) {
  if (limit < 1) return fail(ErrorCode::kInvalidArgument, fmt::format("bad limit: {}", limit));
  const std::lock_guard lock(mutex_);
  int64_t below = sequence_ + 1;
  if (!after.empty()) {
    const auto start = jobs_.find(after);
    if (start == jobs_.end() || (!owner.empty() && start->second.record.owner != owner)) {
      return no_such_job(after);
    }
    below = start->second.sequence;
  }
  std::vector<const StoredJob*> matching;
  for (const auto& [id, job] : jobs_) {
    if (job.sequence < below && (owner.empty() || job.record.owner == owner)) {
      matching.push_back(&job);
    }
  }
  std::ranges::sort(matching, [](auto* a, auto* b) { return a->sequence > b->sequence; });
  JobPage page{.jobs = {}, .has_more = static_cast<int64_t>(matching.size()) > limit};
  if (page.has_more) matching.resize(static_cast<size_t>(limit));
  for (const auto* job : matching) page.jobs.push_back(job->record);
  return page;
}

std::vector<const StoredJob*> MemoryJobStore::in_phase(JobPhase phase) const {
  std::vector<const StoredJob*> jobs;
  for (const auto& [id, job] : jobs_) {
    if (job.record.phase == phase) jobs.push_back(&job);
  }
  std::ranges::sort(jobs, [](auto* a, auto* b) { return a->sequence < b->sequence; });
  return jobs;
}

Result<std::vector<JobRecord>> MemoryJobStore::queued() {
  const std::lock_guard lock(mutex_);
  auto jobs = in_phase(JobPhase::kQueued);
  std::ranges::stable_sort(
      jobs, [](auto* a, auto* b) { return a->record.priority > b->record.priority; });
  std::vector<JobRecord> records;
  for (const auto* job : jobs) records.push_back(job->record);
  return records;
}

Result<std::vector<JobRecord>> MemoryJobStore::running() {
  const std::lock_guard lock(mutex_);
  std::vector<JobRecord> records;
  for (const auto* job : in_phase(JobPhase::kRunning)) records.push_back(job->record);
  return records;
}

Result<JobRecord> MemoryJobStore::transition(const std::string& id, int64_t attempt, JobPhase from,
                                             JobPhase to, const TransitionChange& change) {
  if (!is_transition(from, to)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("no way from {} to {}: {}", phase_name(from), phase_name(to), id));
  }
  const std::lock_guard lock(mutex_);
  const auto found = find(id);
  if (!found) return fail(found.error());
  JobRecord& job = (*found)->record;
  if (job.phase != from || job.attempt != attempt) {
    return fail(ErrorCode::kConflict,
                fmt::format("the job is {} in attempt {}, not {} in attempt {}: {}",
                            phase_name(job.phase), job.attempt, phase_name(from), attempt, id));
  }
  if (to == JobPhase::kQueued && job.cancel_requested) {
    return fail(ErrorCode::kConflict,
                fmt::format("the job is to be cancelled, not queued again: {}", id));
  }
  job.phase = to;
  job.agent = "";
  if (to == JobPhase::kRunning) {
    ++job.attempt;
    job.started_at_ms = now_ms_();
    job.progress = job.failure = job.result = nullptr;
    job.error.reset();
  }
  if (change.agent && !is_final(to)) job.agent = *change.agent;
  if (change.error) job.error = change.error;
  if (change.failure) job.failure = *change.failure;
  if (change.result) job.result = *change.result;
  if (is_final(to)) job.finished_at_ms = now_ms_();
  tell(**found, change.event_level,
       change.event_message.empty() ? std::string(default_event_message(to)) : change.event_message,
       change.event_data);
  return job;
}

Result<JobRecord> MemoryJobStore::request_cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = find(id);
  if (!found) return fail(found.error());
  JobRecord& job = (*found)->record;
  if (is_final(job.phase)) {
    return fail(ErrorCode::kConflict,
                fmt::format("the job has ended already ({}): {}", phase_name(job.phase), id));
  }
  if (job.phase == JobPhase::kRunning) {
    if (!job.cancel_requested) tell(**found, "info", std::string(kCancelRequestedMessage));
    job.cancel_requested = true;
    return job;
  }
  job.phase = JobPhase::kCancelled;
  job.cancel_requested = true;
  job.finished_at_ms = now_ms_();
  tell(**found, "info", std::string(default_event_message(JobPhase::kCancelled)));
  return job;
}

Status MemoryJobStore::append_event(const std::string& id, int64_t attempt, int64_t source_number,
                                    const JobEventRecord& event) {
  const std::lock_guard lock(mutex_);
  const auto job = find(id);
  if (!job) return fail(job.error());
  if ((*job)->record.attempt != attempt) {
    return fail(ErrorCode::kConflict,
                fmt::format("event of attempt {}, the job is in attempt {}: {}", attempt,
                            (*job)->record.attempt, id));
  }
  if (source_number != 0 && !(*job)->told.emplace(attempt, source_number).second) return {};
  tell(**job, event);
  return {};
}

Result<EventPage> MemoryJobStore::events_before(const std::string& id, int64_t before,
                                                int64_t limit) {
  if (limit < 1) return fail(ErrorCode::kInvalidArgument, fmt::format("bad limit: {}", limit));
  const std::lock_guard lock(mutex_);
  const auto job = find(id);
  if (!job) return fail(job.error());
  const auto& events = (*job)->events;
  const auto size = static_cast<int64_t>(events.size());
  const int64_t last = before == 0 ? size : std::clamp<int64_t>(before - 1, 0, size);
  EventPage page;
  for (int64_t i = last; i > std::max<int64_t>(last - limit, 0); --i) {
    page.events.push_back(events[static_cast<size_t>(i - 1)]);
  }
  page.has_more = last > limit;
  return page;
}

Result<EventPage> MemoryJobStore::events_after(const std::string& id, int64_t after,
                                               int64_t limit) {
  if (limit < 1) return fail(ErrorCode::kInvalidArgument, fmt::format("bad limit: {}", limit));
  const std::lock_guard lock(mutex_);
  const auto job = find(id);
  if (!job) return fail(job.error());
  const auto& events = (*job)->events;
  const auto size = static_cast<int64_t>(events.size());
  EventPage page;
  for (int64_t i = std::max<int64_t>(after, 0); i < size && i < after + limit; ++i) {
    page.events.push_back(events[static_cast<size_t>(i)]);
  }
  page.has_more = after + limit < size;
  return page;
}

Result<int64_t> MemoryJobStore::event_number(const std::string& id, const std::string& event_id) {
  const std::lock_guard lock(mutex_);
  const auto job = find(id);
  if (!job) return fail(job.error());
  const auto number = number_of_event(id, event_id);
  if (!number || *number > static_cast<int64_t>((*job)->events.size())) {
    return fail(ErrorCode::kNotFound, fmt::format("no such event: {}", event_id));
  }
  return *number;
}

Status MemoryJobStore::set_progress(const std::string& id, int64_t attempt,
                                    const nlohmann::json& progress) {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return {};
  JobRecord& job = found->second.record;
  if (job.phase == JobPhase::kRunning && job.attempt == attempt) job.progress = progress;
  return {};
}

}  // namespace

std::unique_ptr<JobStore> make_memory_job_store(std::function<int64_t()> now_ms) {
  return std::make_unique<MemoryJobStore>(std::move(now_ms));
}

}  // namespace tunefleet::coordinator

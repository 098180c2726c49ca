#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "coordinator/queue/job_rules.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/queue/waiting_jobs.h"

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
  Result<JobStanding> transition(const std::string& id, int64_t attempt, JobPhase from, JobPhase to,
                                 const TransitionChange& change) override;
  Result<std::vector<JobRecord>> in_group(const std::string& group) override;
  Result<JobRecord> request_stop(const std::string& id, StopReason reason,
                                 const std::string& message, int64_t leader) override;
  Result<JobRecord> resume(const std::string& id) override;
  Status append_event(const std::string& id, int64_t attempt, int64_t source_number,
                      const JobEventRecord& event) override;
  Result<EventPage> events_before(const std::string& id, int64_t before, int64_t limit) override;
  Result<EventPage> events_after(const std::string& id, int64_t after, int64_t limit) override;
  Result<int64_t> event_number(const std::string& id, const std::string& event_id) override;
  Status set_progress(const std::string& id, int64_t attempt,
                      const nlohmann::json& progress) override;
  Result<Leadership> lead(const std::string& place, const std::string& process,
                          int64_t ttl_ms) override;
  Status resign(const std::string& process) override;
  Status ping() override { return {}; }

 private:
  /// The methods below want mutex_ held.
  Result<StoredJob*> find(const std::string& id);
  std::vector<const StoredJob*> in_phase(JobPhase phase) const;
  Status check_leader(int64_t generation) const;
  Result<JobRecord> keep(StoredJob& stored, Result<Asked> asked);
  void tell(StoredJob& job, JobEventRecord event);
  void tell(StoredJob& job, std::string level, std::string message, nlohmann::json data = nullptr);

  std::function<int64_t()> now_ms_;
  std::mutex mutex_;
  std::map<std::string, StoredJob> jobs_;  ///< By id.
  std::map<std::pair<std::string, std::string>, std::pair<std::string, int64_t>>
      idempotency_;  ///< (owner, key) -> (job, used at ms).
  int64_t sequence_ = 0;
  std::string leading_place_, leading_process_;
  Leadership leadership_;
};

tl::unexpected<Error> no_such_job(const std::string& id) {
  return fail(ErrorCode::kNotFound, fmt::format("no such job: {}", id));
}

tl::unexpected<Error> other_leads(const std::string& place, int64_t left_ms) {
  return fail(ErrorCode::kConflict,
              fmt::format("another coordinator leads, for {} ms more: {}", left_ms, place));
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
  auto made = new_job(job);
  if (!made) return fail(made.error());
  const std::lock_guard lock(mutex_);
  const auto key = std::make_pair(job.owner, idempotency_key);
  if (const auto used = idempotency_.find(key);
      used != idempotency_.end() && now_ms_() - used->second.second < kIdempotencyWindowMs) {
    return jobs_.at(used->second.first).record;
  }
  const std::string id = made->id;
  if (jobs_.contains(id)) {
    return fail(ErrorCode::kConflict, fmt::format("there is a job of that id: {}", id));
  }
  set_created(*made, now_ms_());
  StoredJob& stored = jobs_[id];
  stored.sequence = ++sequence_;
  stored.record = std::move(*made);
  tell(stored, "info", created_message(id));
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
  for (const auto* job : jobs) records.push_back(for_plan(job->record));
  return records;
}

Result<std::vector<JobRecord>> MemoryJobStore::running() {
  const std::lock_guard lock(mutex_);
  std::vector<JobRecord> records;
  for (const auto* job : in_phase(JobPhase::kRunning)) records.push_back(job->record);
  return records;
}

Result<std::vector<JobRecord>> MemoryJobStore::in_group(const std::string& group) {
  const std::lock_guard lock(mutex_);
  std::vector<const StoredJob*> members;
  for (const auto& [id, job] : jobs_) {
    if (!group.empty() && job.record.group == group) members.push_back(&job);
  }
  std::ranges::sort(members, [](auto* a, auto* b) { return a->sequence < b->sequence; });
  std::vector<JobRecord> records;
  for (const auto* job : members) records.push_back(job->record);
  return records;
}

Status MemoryJobStore::check_leader(int64_t generation) const {
  if (generation == 0 || generation == leadership_.generation) return {};
  return fail(ErrorCode::kPermissionDenied,
              fmt::format("another coordinator leads, in generation {}, not {}",
                          leadership_.generation, generation));
}

Result<JobStanding> MemoryJobStore::transition(const std::string& id, int64_t attempt,
                                               JobPhase from, JobPhase to,
                                               const TransitionChange& change) {
  const std::lock_guard lock(mutex_);
  const auto found = find(id);
  if (!found) return fail(found.error());
  const auto leads = check_leader(change.leader);
  if (!leads && is_transition(from, to)) return fail(leads.error());
  auto after = after_transition((*found)->record, attempt, from, to, change, now_ms_());
  if (!after) return fail(after.error());
  (*found)->record = std::move(*after);
  tell(**found, change.event_level,
       change.event_message.empty() ? std::string(default_event_message(to)) : change.event_message,
       change.event_data);
  const JobRecord& job = (*found)->record;
  return JobStanding{.phase = job.phase, .attempt = job.attempt, .stop = job.stop};
}

Result<JobRecord> MemoryJobStore::keep(StoredJob& stored, Result<Asked> asked) {
  if (!asked) return fail(asked.error());
  stored.record = std::move(asked->job);
  if (!asked->event_message.empty()) tell(stored, "info", asked->event_message);
  return stored.record;
}

Result<JobRecord> MemoryJobStore::request_stop(const std::string& id, StopReason reason,
                                               const std::string& message, int64_t leader) {
  const std::lock_guard lock(mutex_);
  const auto found = find(id);
  if (!found) return fail(found.error());
  if (const auto leads = check_leader(leader); !leads) return fail(leads.error());
  return keep(**found, after_stop_request((*found)->record, reason, message, now_ms_()));
}

Result<JobRecord> MemoryJobStore::resume(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = find(id);
  if (!found) return fail(found.error());
  return keep(**found, after_resume((*found)->record, now_ms_()));
}

Result<Leadership> MemoryJobStore::lead(const std::string& place, const std::string& process,
                                        int64_t ttl_ms) {
  const std::lock_guard lock(mutex_);
  const int64_t now = now_ms_();
  const bool renews = process == leading_process_ && !process.empty();
  if (!renews && place != leading_place_ && now < leadership_.until_ms) {
    return other_leads(leading_place_, leadership_.until_ms - now);
  }
  if (!renews) {
    ++leadership_.generation;
    leading_place_ = place;
    leading_process_ = process;
  }
  leadership_.until_ms = now + ttl_ms;
  return leadership_;
}

Status MemoryJobStore::resign(const std::string& process) {
  const std::lock_guard lock(mutex_);
  if (process == leading_process_) {
    leading_process_.clear();
    leadership_.until_ms = 0;
  }
  return {};
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

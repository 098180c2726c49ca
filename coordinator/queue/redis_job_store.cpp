#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <mutex>
#include <random>
#include <utility>

#include "coordinator/queue/job_hash.h"
#include "coordinator/queue/job_rules.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/queue/lua_scripts.h"
#include "coordinator/queue/redis_connection.h"
#include "coordinator/queue/redis_scripts.h"
#include "coordinator/queue/waiting_jobs.h"

namespace tunefleet::coordinator {
namespace {

using Words = RedisScripts::Words;

constexpr char kCreatedKey[] = "tf:created";
constexpr char kQueuedKey[] = "tf:queued";
constexpr char kRunningKey[] = "tf:running";
constexpr char kLeaderKey[] = "tf:leader";
constexpr char kRequeuedKey[] = "tf:requeued";
constexpr char kRequeuesKey[] = "tf:requeues";
/// Fewer than prelude.lua keeps.
constexpr size_t kManyRequeued = 9'000;

std::string job_key(const std::string& id, std::string_view part) {
  return fmt::format("tf:{{{}}}:{}", id, part);
}
std::string owner_key(const std::string& owner, std::string_view part) {
  return fmt::format("tf:{{owner:{}}}:{}", owner, part);
}
std::string group_key(const std::string& group) {
  return fmt::format("tf:{{group:{}}}:jobs", group);
}

/// "17-0" -> 17; "17" -> 17.
int64_t number_of_entry(const std::string& entry_id) {
  int64_t number = 0;
  std::from_chars(entry_id.data(), entry_id.data() + entry_id.size(), number);
  return number;
}

/// What transition.lua answers: {'ok', phase, attempt, reason to stop}.
Result<JobStanding> standing_of(const redisReply& reply) {
  if (const auto answer = answer_of(reply); !answer) return fail(answer.error());
  if (reply.elements != 4) {
    return fail(ErrorCode::kInternal,
                fmt::format("Redis answered a transition with {} values", reply.elements));
  }
  const auto phase = phase_from_name(text_of(*reply.element[1]));
  const auto stop = stop_reason_from_name(text_of(*reply.element[3]));
  if (!phase) return fail(phase.error());
  if (!stop) return fail(stop.error());
  return JobStanding{
      .phase = *phase, .attempt = number_of_entry(text_of(*reply.element[2])), .stop = *stop};
}

/// Makes the text that tells one call from every other, also of other processes.
class CallNames {
 public:
  CallNames() {
    std::random_device source;
    prefix_ = fmt::format("{:08x}{:08x}", source(), source());
  }
  std::string next() { return fmt::format("{}-{:x}", prefix_, ++count_); }

 private:
  std::string prefix_;
  std::atomic<int64_t> count_ = 0;
};

/// JobStore on Redis; see redis.md for the keys. Holds no state of its own but connections and what
/// it has read of waiting jobs.
class RedisJobStore : public JobStore {
 public:
  explicit RedisJobStore(RedisAddress address) : redis_(std::move(address)), scripts_(redis_) {}

  Result<JobRecord> create(const JobRecord& job, const std::string& idempotency_key) override;
  Result<JobRecord> get(const std::string& id) override;
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t limit) override;
  Result<std::vector<JobRecord>> in_group(const std::string& group) override {
    return jobs_of(group_key(group), false, "", 0);
  }
  Result<std::vector<JobRecord>> queued() override;
  Result<std::vector<JobRecord>> running() override;
  Result<JobStanding> transition(const std::string& id, int64_t attempt, JobPhase from, JobPhase to,
                                 const TransitionChange& change) override;
  Result<JobRecord> request_stop(const std::string& id, StopReason reason,
                                 const std::string& message, int64_t leader) override;
  Result<JobRecord> resume(const std::string& id) override;
  Status append_event(const std::string& id, int64_t attempt, int64_t source_number,
                      const JobEventRecord& event) override;
  Result<EventPage> events_before(const std::string& id, int64_t before, int64_t limit) override {
    return events_of(id, true, before, limit);
  }
  Result<EventPage> events_after(const std::string& id, int64_t after, int64_t limit) override {
    return events_of(id, false, after, limit);
  }
  Result<int64_t> event_number(const std::string& id, const std::string& event_id) override;
  Status set_progress(const std::string& id, int64_t attempt,
                      const nlohmann::json& progress) override;
  Result<Leadership> lead(const std::string& place, const std::string& process,
                          int64_t ttl_ms) override;
  Status resign(const std::string& process) override;
  Status ping() override;

 private:
  Result<JobRecord> job_after(const char* script, const Words& keys, const Words& arguments);
  Result<std::vector<JobRecord>> jobs_of(const std::string& index, bool newest_first,
                                         const std::string& after, int64_t limit);
  Result<std::vector<std::string>> waiting_ids();
  Status forget_requeued();
  Result<std::vector<JobRecord>> read_all(const std::vector<std::string>& ids);
  Result<EventPage> events_of(const std::string& id, bool newest_first, int64_t bound,
                              int64_t limit);
  Status only_status(const Result<RedisReply>& reply);

  RedisPool redis_;
  RedisScripts scripts_;
  CallNames calls_;
  std::mutex waiting_mutex_;
  WaitingJobs waiting_;         ///< Guarded by waiting_mutex_, like
  int64_t newest_requeue_ = 0;  ///< the newest in tf:requeued that is known.
};

Result<JobRecord> RedisJobStore::job_after(const char* script, const Words& keys,
                                           const Words& arguments) {
  const auto reply = scripts_.run(script, keys, arguments);
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  if (!answer) return fail(answer.error());
  return job_from_hash(fields_of(**answer));
}

Result<JobRecord> RedisJobStore::create(const JobRecord& job, const std::string& idempotency_key) {
  if (job.phase != JobPhase::kValidatingFiles && job.phase != JobPhase::kQueued) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a new job starts as validating_files or queued: {} is {}", job.id,
                            phase_name(job.phase)));
  }
  const std::string id = job.id.empty() ? new_job_id() : job.id;
  const bool keyed = !idempotency_key.empty();
  const auto reply =
      scripts_.run(lua::create_job,
                   {job_key(id, "job"), job_key(id, "events"), owner_key(job.owner, "created"),
                    owner_key(job.owner, "idempotency:" + idempotency_key), group_key(job.group)},
                   {calls_.next(), id, job.owner, std::string(phase_name(job.phase)),
                    std::to_string(job.priority), fmt::format("Created fine-tuning job: {}", id),
                    std::to_string(keyed ? kIdempotencyWindowMs : 0), job.group, "workers",
                    std::to_string(job.workers), "min_workers", std::to_string(job.min_workers),
                    "max_workers", std::to_string(job.max_workers), "spec", json_text(job.spec),
                    "request", json_text(job.request)});
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  if (!answer) return fail(answer.error());
  const HashFields fields = fields_of(**answer);
  if (fields.contains("id")) return job_from_hash(fields);  // Made by an earlier call.
  const auto now = number_of_entry(std::string(fields.at("created_at_ms")));
  return JobRecord{.id = id,
                   .owner = job.owner,
                   .group = job.group,
                   .phase = job.phase,
                   .priority = job.priority,
                   .workers = job.workers,
                   .min_workers = job.min_workers,
                   .max_workers = job.max_workers,
                   .created_at_ms = now,
                   .queued_at_ms = job.phase == JobPhase::kQueued ? now : 0,
                   .spec = job.spec,
                   .request = job.request};
}

Result<JobRecord> RedisJobStore::get(const std::string& id) {
  const auto reply = redis_.command({"HGETALL", job_key(id, "job")});
  if (!reply) return fail(reply.error());
  if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
  if ((*reply)->elements == 0)
    return fail(ErrorCode::kNotFound, fmt::format("no such job: {}", id));
  return job_from_hash(fields_of(**reply));
}

Result<std::vector<JobRecord>> RedisJobStore::jobs_of(const std::string& index, bool newest_first,
                                                      const std::string& after, int64_t limit) {
  const auto reply = scripts_.run(lua::read_index, {index},
                                  {newest_first ? "1" : "0", after, std::to_string(limit)});
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  if (!answer) return fail(answer.error());
  std::vector<std::string> ids;
  for (size_t i = 0; i < (*answer)->elements; ++i) ids.push_back(text_of(*(*answer)->element[i]));
  return read_all(ids);
}

Result<std::vector<JobRecord>> RedisJobStore::running() {
  auto jobs = jobs_of(kRunningKey, false, "", 0);
  if (jobs) {  // Some may have ended after the index was read.
    std::erase_if(*jobs, [](const JobRecord& job) { return job.phase != JobPhase::kRunning; });
  }
  return jobs;
}

/// In the order of the queue.
Result<std::vector<std::string>> RedisJobStore::waiting_ids() {
  const auto reply = redis_.command({"ZRANGE", kQueuedKey, "0", "-1"});
  if (!reply) return fail(reply.error());
  if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
  std::vector<std::string> ids;
  ids.reserve((*reply)->elements);
  for (size_t i = 0; i < (*reply)->elements; ++i) {
    const std::string member = text_of(*(*reply)->element[i]);  // "<sequence>:<id>"
    ids.push_back(member.substr(member.find(':') + 1));
  }
  return ids;
}

/// Forgets the jobs that came back to the queue since it was last asked; all of them when that is
/// not to be known: too many came back, or the server has lost what it had counted.
Status RedisJobStore::forget_requeued() {
  const auto replies = redis_.commands(
      {{"GET", kRequeuesKey},
       {"ZRANGEBYSCORE", kRequeuedKey, fmt::format("({}", newest_requeue_), "+inf", "WITHSCORES"}});
  for (const auto& reply : replies) {
    if (!reply) return fail(reply.error());
    if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
  }
  const bool lost = number_of_entry(text_of(**replies[0])) < newest_requeue_;
  const redisReply& requeued = **replies[1];
  if (lost) newest_requeue_ = 0;
  if (lost || requeued.elements / 2 >= kManyRequeued) waiting_.forget_all();
  for (size_t i = 0; i + 1 < requeued.elements; i += 2) {
    waiting_.forget(text_of(*requeued.element[i]));
    newest_requeue_ = number_of_entry(text_of(*requeued.element[i + 1]));
  }
  return {};
}

/// Those that are gone are left out.
Result<std::vector<JobRecord>> RedisJobStore::read_all(const std::vector<std::string>& ids) {
  std::vector<Words> list;
  list.reserve(ids.size());
  for (const auto& id : ids) list.push_back({"HGETALL", job_key(id, "job")});
  std::vector<JobRecord> jobs;
  jobs.reserve(ids.size());
  for (const auto& reply : redis_.commands(list)) {
    if (!reply) return fail(reply.error());
    if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
    if ((*reply)->elements == 0) continue;
    auto job = job_from_hash(fields_of(**reply));
    if (!job) return fail(job.error());
    jobs.push_back(std::move(*job));
  }
  return jobs;
}

/// A planner asks each time that something changes: thousands that have not are not read again. A
/// job that comes back between the first two questions is read at once, one that comes later next
/// time.
Result<std::vector<JobRecord>> RedisJobStore::queued() {
  const std::lock_guard lock(waiting_mutex_);
  const auto ids = waiting_ids();
  if (!ids) return fail(ids.error());
  if (const auto forgot = forget_requeued(); !forgot) return fail(forgot.error());
  auto read = read_all(waiting_.unknown(*ids));
  if (!read) return fail(read.error());
  for (JobRecord& job : *read) waiting_.take(std::move(job));
  return waiting_.settle(*ids);
}

Result<JobPage> RedisJobStore::list(const std::string& owner, const std::string& after,
                                    int64_t limit) {
  if (limit < 1) return fail(ErrorCode::kInvalidArgument, fmt::format("bad limit: {}", limit));
  const std::string index = owner.empty() ? kCreatedKey : owner_key(owner, "created");
  auto jobs = jobs_of(index, true, after, limit + 1);
  if (!jobs) return fail(jobs.error());
  JobPage page{.jobs = std::move(*jobs)};
  page.has_more = static_cast<int64_t>(page.jobs.size()) > limit;
  if (page.has_more) page.jobs.pop_back();
  return page;
}

Result<JobStanding> RedisJobStore::transition(const std::string& id, int64_t attempt, JobPhase from,
                                              JobPhase to, const TransitionChange& change) {
  if (!is_transition(from, to)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("no way from {} to {}: {}", phase_name(from), phase_name(to), id));
  }
  Words arguments{
      calls_.next(),
      id,
      std::to_string(attempt),
      std::string(phase_name(from)),
      std::string(phase_name(to)),
      std::to_string(change.leader),
      change.event_level,
      change.event_message.empty() ? std::string(default_event_message(to)) : change.event_message,
      json_text(change.event_data)};
  for (auto& [field, value] : changed_fields(to, change)) {
    arguments.push_back(std::move(field));
    arguments.push_back(std::move(value));
  }
  const auto reply =
      scripts_.run(lua::transition, {job_key(id, "job"), job_key(id, "events")}, arguments);
  if (!reply) return fail(reply.error());
  return standing_of(**reply);
}

Result<JobRecord> RedisJobStore::request_stop(const std::string& id, StopReason reason,
                                              const std::string& message, int64_t leader) {
  const JobPhase to = phase_after_stop(reason);
  const auto or_usual = [&message](std::string_view usual) {
    return message.empty() ? std::string(usual) : message;
  };
  return job_after(lua::request_stop,
                   {job_key(id, "job"), job_key(id, "events"), kQueuedKey, kLeaderKey},
                   {calls_.next(), id, std::string(stop_reason_name(reason)),
                    std::to_string(leader), or_usual(default_stop_message(reason)),
                    std::string(phase_name(to)), or_usual(default_event_message(to))});
}

Result<JobRecord> RedisJobStore::resume(const std::string& id) {
  return job_after(
      lua::resume_job, {job_key(id, "job"), job_key(id, "events"), kQueuedKey},
      {calls_.next(), id, std::string(kResumedMessage), std::string(kResumedEarlyMessage)});
}

Status RedisJobStore::only_status(const Result<RedisReply>& reply) {
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  return answer ? Status() : fail(answer.error());
}

Result<Leadership> RedisJobStore::lead(const std::string& place, const std::string& process,
                                       int64_t ttl_ms) {
  const auto reply =
      scripts_.run(lua::lead, {kLeaderKey}, {place, process, std::to_string(ttl_ms)});
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  if (!answer) return fail(answer.error());
  return leadership_from_hash(fields_of(**answer));
}

Status RedisJobStore::resign(const std::string& process) {
  return only_status(scripts_.run(lua::resign, {kLeaderKey}, {process}));
}

Status RedisJobStore::append_event(const std::string& id, int64_t attempt, int64_t source_number,
                                   const JobEventRecord& event) {
  return only_status(scripts_.run(
      lua::append_event, {job_key(id, "job"), job_key(id, "events"), job_key(id, "told")},
      {calls_.next(), id, std::to_string(attempt), std::to_string(source_number), event.level,
       event.type, event.message, json_text(event.data), std::to_string(event.created_at_ms)}));
}

Result<EventPage> RedisJobStore::events_of(const std::string& id, bool newest_first, int64_t bound,
                                           int64_t limit) {
  if (limit < 1) return fail(ErrorCode::kInvalidArgument, fmt::format("bad limit: {}", limit));
  const auto reply = scripts_.run(
      lua::read_events, {job_key(id, "job"), job_key(id, "events")},
      {id, newest_first ? "1" : "0", std::to_string(bound), std::to_string(limit + 1)});
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  if (!answer) return fail(answer.error());
  EventPage page;
  const size_t count = (*answer)->elements;
  page.has_more = static_cast<int64_t>(count) > limit;
  for (size_t i = 0; i < count - (page.has_more ? 1 : 0); ++i) {
    const redisReply& entry = *(*answer)->element[i];
    auto event = event_from_hash(id, number_of_entry(text_of(*entry.element[0])),
                                 fields_of(*entry.element[1]));
    if (!event) return fail(event.error());
    page.events.push_back(std::move(*event));
  }
  return page;
}

Result<int64_t> RedisJobStore::event_number(const std::string& id, const std::string& event_id) {
  const auto number = number_of_event(id, event_id);
  const auto page = number ? events_of(id, false, *number - 1, 1) : Result<EventPage>(EventPage());
  if (!page) return fail(page.error());
  if (page->events.empty() || page->events[0].number != *number) {
    return fail(ErrorCode::kNotFound, fmt::format("no such event: {}", event_id));
  }
  return *number;
}

Status RedisJobStore::set_progress(const std::string& id, int64_t attempt,
                                   const nlohmann::json& progress) {
  return only_status(scripts_.run(lua::set_progress, {job_key(id, "job")},
                                  {std::to_string(attempt), json_text(progress)}));
}

Status RedisJobStore::ping() {
  const auto reply = redis_.command({"PING"});
  if (!reply) return fail(reply.error());
  if ((*reply)->type != REDIS_REPLY_ERROR) return {};
  return fail(ErrorCode::kUnavailable, text_of(**reply));
}

}  // namespace

Result<std::unique_ptr<JobStore>> open_redis_job_store(const std::string& url) {
  auto address = parse_redis_url(url);
  if (!address) return fail(address.error());
  std::unique_ptr<JobStore> store = std::make_unique<RedisJobStore>(std::move(*address));
  if (auto alive = store->ping(); !alive) return fail(alive.error());
  return store;
}

}  // namespace tunefleet::coordinator

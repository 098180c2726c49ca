#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <utility>

#include "coordinator/queue/job_hash.h"
#include "coordinator/queue/job_rules.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/queue/lua_scripts.h"
#include "coordinator/queue/redis_connection.h"
#include "coordinator/queue/redis_job_lists.h"
#include "coordinator/queue/redis_keys.h"
#include "coordinator/queue/redis_scripts.h"

namespace tunefleet::coordinator {
namespace {

using Words = RedisScripts::Words;

std::string message_event(std::string_view message) {
  return event_text("info", "message", message);
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
      .phase = *phase, .attempt = leading_number(text_of(*reply.element[2])), .stop = *stop};
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
/// its lists know of waiting jobs.
class RedisJobStore : public JobStore {
 public:
  explicit RedisJobStore(RedisAddress address)
      : redis_(std::move(address)), scripts_(redis_), lists_(redis_, scripts_) {}

  Result<JobRecord> create(const JobRecord& job, const std::string& idempotency_key) override;
  Result<JobRecord> get(const std::string& id) override { return lists_.get(id); }
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t limit) override {
    return lists_.list(owner, after, limit);
  }
  Result<std::vector<JobRecord>> in_group(const std::string& group) override {
    return lists_.in_group(group);
  }
  Result<std::vector<JobRecord>> queued() override { return lists_.queued(); }
  Result<std::vector<JobRecord>> running() override { return lists_.running(); }
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
  /// kConflict when what is stored there is of an earlier form, which nothing here reads.
  Status check_form();

 private:
  Result<JobRecord> job_after(const char* script, const Words& keys, const Words& arguments);
  Result<EventPage> events_of(const std::string& id, bool newest_first, int64_t bound,
                              int64_t limit);
  Status only_status(const Result<RedisReply>& reply);

  RedisPool redis_;
  RedisScripts scripts_;
  RedisJobLists lists_;
  CallNames calls_;
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
  auto made = new_job(job);
  if (!made) return fail(made.error());
  const std::string& id = made->id;
  const bool keyed = !idempotency_key.empty();
  const auto reply = scripts_.run(
      lua::create_job,
      {job_key(id, "job"), job_key(id, "events"), owner_key(job.owner, "created"),
       owner_key(job.owner, "idempotency:" + idempotency_key),
       job.group.empty() ? "" : group_key(job.group)},
      {calls_.next(), id, std::string(phase_name(job.phase)), std::to_string(job.priority),
       std::to_string(job.workers), given_text(*made), message_event(created_message(id)),
       std::to_string(keyed ? kIdempotencyWindowMs : 0)});
  if (!reply) return fail(reply.error());
  const auto answer = answer_of(**reply);
  if (!answer) return fail(answer.error());
  const HashFields fields = fields_of(**answer);
  if (fields.contains("state")) return job_from_hash(fields);  // Made by an earlier call.
  set_created(*made, leading_number(fields.at("created_at_ms")));
  return made;
}

Result<JobStanding> RedisJobStore::transition(const std::string& id, int64_t attempt, JobPhase from,
                                              JobPhase to, const TransitionChange& change) {
  if (!is_transition(from, to)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("no way from {} to {}: {}", phase_name(from), phase_name(to), id));
  }
  const bool placed = to == JobPhase::kRunning && change.placement.has_value();
  Words arguments{
      calls_.next(),
      id,
      std::to_string(attempt),
      std::string(phase_name(from)),
      std::string(phase_name(to)),
      std::to_string(change.leader),
      event_text(change.event_level, "message",
                 change.event_message.empty() ? default_event_message(to) : change.event_message,
                 change.event_data),
      placed ? json_text(to_json(*change.placement)) : "",
      placed ? std::to_string(ranks_of(*change.placement)) : ""};
  for (auto& [field, value] : changed_fields(change)) {
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
  const auto event_or_usual = [&message](std::string_view usual) {
    return message_event(message.empty() ? usual : message);
  };
  return job_after(lua::request_stop,
                   {job_key(id, "job"), job_key(id, "events"), kQueuedKey, kLeaderKey},
                   {calls_.next(), id, std::string(stop_reason_name(reason)),
                    std::to_string(leader), event_or_usual(default_stop_message(reason)),
                    std::string(phase_name(to)), event_or_usual(default_event_message(to))});
}

Result<JobRecord> RedisJobStore::resume(const std::string& id) {
  return job_after(
      lua::resume_job, {job_key(id, "job"), job_key(id, "events"), kQueuedKey},
      {calls_.next(), id, message_event(kResumedMessage), message_event(kResumedEarlyMessage)});
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
      {calls_.next(), id, std::to_string(attempt), std::to_string(source_number),
       event_text(event.level, event.type, event.message, event.data),
       std::to_string(event.created_at_ms)}));
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
  const int64_t first = leading_number(text_of(**answer));
  const redisReply& entries = *(*reply)->element[2];
  EventPage page;
  for (size_t i = 0; i < entries.elements; ++i) {
    auto event =
        event_from_entry(id, first + static_cast<int64_t>(i), text_of(*entries.element[i]));
    if (!event) return fail(event.error());
    page.events.push_back(std::move(*event));
  }
  if (newest_first) std::ranges::reverse(page.events);
  page.has_more = static_cast<int64_t>(page.events.size()) > limit;
  if (page.has_more) page.events.pop_back();
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

Status RedisJobStore::check_form() {
  const auto reply = redis_.command({"EXISTS", kEarlierFormKey});
  if (!reply) return fail(reply.error());
  if (text_of(**reply) == "0") return {};
  return fail(ErrorCode::kConflict,
              "the queue in this Redis was written by an earlier tunefleet, and this one cannot "
              "read it: let that one finish its jobs, then start on an empty data directory (or "
              "another database of the Redis)");
}

}  // namespace

Result<std::unique_ptr<JobStore>> open_redis_job_store(const std::string& url) {
  auto address = parse_redis_url(url);
  if (!address) return fail(address.error());
  auto store = std::make_unique<RedisJobStore>(std::move(*address));
  if (auto alive = store->ping(); !alive) return fail(alive.error());
  if (auto ours = store->check_form(); !ours) return fail(ours.error());
  return store;
}

}  // namespace tunefleet::coordinator

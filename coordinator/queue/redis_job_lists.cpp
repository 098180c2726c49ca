#include "coordinator/queue/redis_job_lists.h"

#include <fmt/format.h>

#include <utility>

#include "coordinator/queue/job_hash.h"
#include "coordinator/queue/lua_scripts.h"
#include "coordinator/queue/redis_keys.h"

namespace tunefleet::coordinator {
namespace {

using Words = RedisScripts::Words;

/// Fewer than prelude.lua keeps.
constexpr size_t kManyRequeued = 9'000;

}  // namespace

Result<JobRecord> RedisJobLists::get(const std::string& id) {
  const auto reply = redis_.command({"HGETALL", job_key(id, "job")});
  if (!reply) return fail(reply.error());
  if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
  if ((*reply)->elements == 0)
    return fail(ErrorCode::kNotFound, fmt::format("no such job: {}", id));
  return job_from_hash(fields_of(**reply));
}

Result<std::vector<JobRecord>> RedisJobLists::of_index(const std::string& index, bool newest_first,
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

Result<std::vector<JobRecord>> RedisJobLists::running() {
  auto jobs = of_index(kRunningKey, false, "", 0);
  if (jobs) {  // Some may have ended after the index was read.
    std::erase_if(*jobs, [](const JobRecord& job) { return job.phase != JobPhase::kRunning; });
  }
  return jobs;
}

/// In the order of the queue.
Result<std::vector<std::string>> RedisJobLists::waiting_ids() {
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
Status RedisJobLists::forget_requeued() {
  const auto replies = redis_.commands(
      {{"GET", kRequeuesKey},
       {"ZRANGEBYSCORE", kRequeuedKey, fmt::format("({}", newest_requeue_), "+inf", "WITHSCORES"}});
  for (const auto& reply : replies) {
    if (!reply) return fail(reply.error());
    if ((*reply)->type == REDIS_REPLY_ERROR) return fail(ErrorCode::kInternal, text_of(**reply));
  }
  const bool lost = leading_number(text_of(**replies[0])) < newest_requeue_;
  const redisReply& requeued = **replies[1];
  if (lost) newest_requeue_ = 0;
  if (lost || requeued.elements / 2 >= kManyRequeued) waiting_.forget_all();
  for (size_t i = 0; i + 1 < requeued.elements; i += 2) {
    waiting_.forget(text_of(*requeued.element[i]));
    newest_requeue_ = leading_number(text_of(*requeued.element[i + 1]));
  }
  return {};
}

/// Those that are gone are left out.
Result<std::vector<JobRecord>> RedisJobLists::read_all(const std::vector<std::string>& ids) {
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
Result<std::vector<JobRecord>> RedisJobLists::queued() {
  const std::lock_guard lock(waiting_mutex_);
  const auto ids = waiting_ids();
  if (!ids) return fail(ids.error());
  if (const auto forgot = forget_requeued(); !forgot) return fail(forgot.error());
  auto read = read_all(waiting_.unknown(*ids));
  if (!read) return fail(read.error());
  for (JobRecord& job : *read) waiting_.take(std::move(job));
  return waiting_.settle(*ids);
}

Result<std::vector<JobRecord>> RedisJobLists::in_group(const std::string& group) {
  return of_index(group_key(group), false, "", 0);
}

Result<JobPage> RedisJobLists::list(const std::string& owner, const std::string& after,
                                    int64_t limit) {
  if (limit < 1) return fail(ErrorCode::kInvalidArgument, fmt::format("bad limit: {}", limit));
  const std::string index = owner.empty() ? kCreatedKey : owner_key(owner, "created");
  auto jobs = of_index(index, true, after, limit + 1);
  if (!jobs) return fail(jobs.error());
  JobPage page{.jobs = std::move(*jobs)};
  page.has_more = static_cast<int64_t>(page.jobs.size()) > limit;
  if (page.has_more) page.jobs.pop_back();
  return page;
}

}  // namespace tunefleet::coordinator

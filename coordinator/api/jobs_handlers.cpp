#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/create_gate.h"
#include "coordinator/api/ids.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/queue/job_rules.h"
#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 100;
constexpr size_t kMaxIdempotencyKey = 255;
constexpr int64_t kLogTailBytes = 64 << 10;
constexpr int64_t kLogPieceBytes = 1 << 20;
constexpr const char* kBodyDigest = "body_sha256";

json shown(const ApiContext& context, JobRecord job) {
  const auto position = context.fleet.position(job.id);
  return to_openai_job(std::move(job), position, context.now_ms());
}

HttpReply job_reply(const ApiContext& context, JobRecord job) {
  return json_reply(shown(context, std::move(job)));
}

std::string digest_of(const JobRecord& job) {
  const auto found = job.request.find(kBodyDigest);
  return found != job.request.end() && found->is_string() ? found->get<std::string>() : "";
}

/// The job that an earlier copy of this request made, whose reply was lost.
ApiResult<std::optional<JobRecord>> find_made_before(const ApiContext& context,
                                                     const std::string& owner,
                                                     const std::string& digest) {
  const int64_t oldest = context.now_ms() - kRetryWindow_ms;
  std::string after;
  for (;;) {
    const auto page = context.jobs.list(owner, after, kPage);
    if (!page) return api_fail(to_api_error(page.error()));
    for (const JobRecord& job : page->jobs) {
      if (job.created_at_ms < oldest) return std::nullopt;
      if (digest_of(job) == digest) return job;
    }
    if (!page->has_more || page->jobs.empty()) return std::nullopt;
    after = page->jobs.back().id;
  }
}

ApiReply store_job(const ApiContext& context, const JobRecord& job, const std::string& key) {
  const std::string stored_key = key.empty() ? "" : storage::sha256_hex(key);
  const auto stored = context.jobs.create(job, stored_key);
  if (!stored) return api_fail(to_api_error(stored.error()));
  if (digest_of(*stored) != digest_of(job)) {
    return api_fail(to_api_error(
        {ErrorCode::kConflict, fmt::format("the Idempotency-Key was used for another request "
                                           "within the last ten minutes: {}",
                                           stored->id)}));
  }
  context.fleet.wake();
  return job_reply(context, *stored);
}

ApiReply create_job(const ApiContext& context, CreateGate& gate, HttpRequest& request) {
  const auto text = read_text_body(request);
  if (!text) return api_fail(text.error());
  const auto body = parse_json_object(*text);
  if (!body) return api_fail(body.error());
  const std::string key = request.header("idempotency-key");
  if (key.size() > kMaxIdempotencyKey) {
    return api_fail(bad_request("the Idempotency-Key has more than 255 characters"));
  }
  const std::string digest = storage::sha256_hex(*text);
  const CreateGate::Pass pass(gate, request.owner + ":" + digest);
  if (!pass.entered()) {
    return api_fail(to_api_error(
        {ErrorCode::kUnavailable, "the same request is still being worked on, try again"}));
  }
  if (key.empty() && is_retry(request)) {
    const auto before = find_made_before(context, request.owner, digest);
    if (!before) return api_fail(before.error());
    if (*before) return job_reply(context, **before);
  }
  auto wanted = read_job_request(*body, request.owner, context.resources());
  if (!wanted) return api_fail(wanted.error());
  JobRecord job = queued_job(request.owner, std::move(*wanted));
  job.id = new_job_id();
  job.request[kBodyDigest] = digest;
  return store_job(context, job, key);
}

ApiReply get_job(const ApiContext& context, HttpRequest& request) {
  auto job = find_own_job(context, request);
  if (!job) return api_fail(job.error());
  return job_reply(context, *std::move(job));
}

/// metadata[key]=value pairs, all of which must be the job's; or metadata=null: jobs without any.
class MetadataFilter {
 public:
  explicit MetadataFilter(const HttpRequest& request) {
    for (const auto& [name, value] : request.query) {
      if (name.starts_with("metadata[") && name.ends_with("]")) {
        wanted_.emplace_back(name.substr(9, name.size() - 10), value);
      }
    }
    none_ = request.query_value("metadata") == "null";
  }

  bool accepts_all() const { return wanted_.empty() && !none_; }

  bool accepts(const JobRecord& job) const {
    const auto found = job.request.find("metadata");
    const bool has = found != job.request.end() && found->is_object();
    if (none_ && has && !found->empty()) return false;
    for (const auto& [key, value] : wanted_) {
      if (!has || !found->contains(key) || (*found)[key] != value) return false;
    }
    return true;
  }

 private:
  std::vector<std::pair<std::string, std::string>> wanted_;
  bool none_ = false;
};

ApiReply list_jobs(const ApiContext& context, HttpRequest& request) {
  const auto limit = query_number(request, "limit", 20, 1, kPage);
  if (!limit) return api_fail(limit.error());
  const MetadataFilter filter(request);
  std::string after = request.query_value("after").value_or("");
  const int64_t at_once = filter.accepts_all() ? *limit : kPage;
  std::vector<json> items;
  for (;;) {
    auto page = context.jobs.list(request.owner, after, at_once);
    if (!page) return api_fail(to_api_error(page.error()));
    if (!page->jobs.empty()) after = page->jobs.back().id;
    for (JobRecord& job : page->jobs) {
      if (!filter.accepts(job)) continue;
      if (static_cast<int64_t>(items.size()) == *limit) {
        return json_reply(to_openai_page(std::move(items), true));
      }
      items.push_back(shown(context, std::move(job)));
    }
    if (filter.accepts_all()) return json_reply(to_openai_page(std::move(items), page->has_more));
    if (!page->has_more || page->jobs.empty()) break;
  }
  return json_reply(to_openai_page(std::move(items), false));
}

/// Does something to one job of the caller's, and shows what became of it.
template <typename Change>
ApiReply change_job(const ApiContext& context, HttpRequest& request, Change change) {
  const auto job = find_own_job(context, request);
  if (!job) return api_fail(job.error());
  const auto changed = change(job->id);
  if (!changed) return api_fail(to_api_error(changed.error()));
  context.fleet.wake();
  return job_reply(context, *changed);
}

/// A cancel that is sent again, since its reply was lost, finds the job cancelled.
ApiReply cancel_job(const ApiContext& context, HttpRequest& request) {
  if (is_retry(request)) {
    auto job = find_own_job(context, request);
    if (job && job->phase == JobPhase::kCancelled) return job_reply(context, *std::move(job));
  }
  return change_job(context, request, [&](const std::string& id) {
    return context.jobs.request_stop(id, StopReason::kCancel, "", 0);
  });
}

ApiReply pause_job(const ApiContext& context, HttpRequest& request) {
  return change_job(context, request, [&](const std::string& id) {
    return context.jobs.request_stop(id, StopReason::kPause, "", 0);
  });
}

ApiReply resume_job(const ApiContext& context, HttpRequest& request) {
  return change_job(context, request,
                    [&](const std::string& id) { return context.jobs.resume(id); });
}

/// What the ranks have printed: from `offset` on, or the end of it. The reply's x-next-offset is
/// where to go on.
ApiReply get_logs(const ApiContext& context, HttpRequest& request) {
  const auto job = find_own_job(context, request);
  if (!job) return api_fail(job.error());
  const auto path = context.jobs_directory / job->id / "ranks.log";
  std::error_code error;
  const auto there = std::filesystem::file_size(path, error);
  const int64_t size = error ? 0 : static_cast<int64_t>(there);
  const auto offset =
      query_number(request, "offset", std::max<int64_t>(0, size - kLogTailBytes), 0, INT64_MAX);
  if (!offset) return api_fail(offset.error());
  const int64_t begin = std::min(*offset, size);
  std::string text(static_cast<size_t>(std::min(size - begin, kLogPieceBytes)), '\0');
  std::ifstream file(path, std::ios::binary);
  file.seekg(begin);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  HttpReply reply;
  reply.content_type = "text/plain; charset=utf-8";
  const auto next = begin + static_cast<int64_t>(text.size());
  reply.headers.emplace_back("x-next-offset", std::to_string(next));
  reply.body = std::move(text);
  return reply;
}

}  // namespace

ApiResult<JobRecord> find_own_job(const ApiContext& context, const HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  const auto unknown = [&] { return api_fail(not_found(fmt::format("no such job: {}", id))); };
  if (!is_id(id, "ftjob-")) return unknown();
  auto job = context.jobs.get(id);
  if (!job && job.error().code == ErrorCode::kNotFound) return unknown();
  if (!job) return api_fail(to_api_error(job.error()));
  if (job->owner != request.owner) return unknown();
  return std::move(*job);
}

std::vector<Route> job_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  const auto gate = std::make_shared<CreateGate>();
  const auto create = [&context, gate](HttpRequest& request) {
    return create_job(context, *gate, request);
  };
  return {
      {"POST",
       "/v1/fine_tuning/jobs",
       create,
       Scope::kSubmit,
       {.summary = "Submits a fine-tuning job", .reply = "Job", .request = "CreateJob"}},
      {"GET",
       "/v1/fine_tuning/jobs",
       bind(list_jobs),
       Scope::kRead,
       {.summary = "Lists your jobs, newest first",
        .reply = "JobPage",
        .query = {{"after", "Id of the last job of the page before"},
                  {"limit", "1 to 100, default 20", "integer", 1, 100},
                  {"metadata", "null: jobs without metadata; metadata[key]=value: with that"}}}},
      {"GET",
       "/v1/fine_tuning/jobs/{id}",
       bind(get_job),
       Scope::kRead,
       {.summary = "Tells about a job", .reply = "Job"}},
      {"POST",
       "/v1/fine_tuning/jobs/{id}/cancel",
       bind(cancel_job),
       Scope::kSubmit,
       {.summary = "Stops a job", .reply = "Job"}},
      {"POST",
       "/v1/fine_tuning/jobs/{id}/pause",
       bind(pause_job),
       Scope::kSubmit,
       {.summary = "Stops a job until it is resumed", .reply = "Job"}},
      {"POST",
       "/v1/fine_tuning/jobs/{id}/resume",
       bind(resume_job),
       Scope::kSubmit,
       {.summary = "Lets a paused job go on from its last checkpoint", .reply = "Job"}},
      {"GET",
       "/v1/fine_tuning/jobs/{id}/logs",
       bind(get_logs),
       Scope::kRead,
       {.summary = "Gives what a job's ranks have printed",
        .query = {{"offset", "First byte; by default the last 64 KiB", "integer", 0}},
        .reply_type = "text/plain"}}};
}

}  // namespace tunefleet::coordinator

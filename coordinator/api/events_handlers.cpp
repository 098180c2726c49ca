#include <fmt/format.h>

#include <chrono>
#include <thread>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int64_t kPage = 100;
constexpr milliseconds kLook{200};     // Between two looks at the store for news.
constexpr milliseconds kPing{10'000};  // Silence after which a comment keeps the connection alive.
constexpr milliseconds kOutage{
    30'000};  // How long a follower waits for a store that does not answer.

/// The number of the event named by `after`; 0 when there is no `after`.
ApiResult<int64_t> number_after(const ApiContext& context, const HttpRequest& request,
                                const std::string& job) {
  const auto after = request.query_value("after");
  if (!after || after->empty()) return 0;
  const auto number = context.jobs.event_number(job, *after);
  if (!number && number.error().code == ErrorCode::kNotFound) {
    return api_fail(not_found("no such event of this job: " + *after, "after"));
  }
  if (!number) return api_fail(to_api_error(number.error()));
  return *number;
}

/// Sends a job's events as they come, oldest first, until the job is final and all are out.
class Follower {
 public:
  Follower(JobStore& jobs, std::string job, int64_t after)
      : jobs_(jobs), job_(std::move(job)), after_(after) {}

  void run(const ReplySink& sink) {
    while (sink.is_open()) {
      const auto sent = send_news(sink);
      if (!sent && Clock::now() - answered_ > kOutage) {
        return send_error(sink, to_api_error(sent.error()));
      }
      if (sent) answered_ = Clock::now();
      if (sent && *sent == News::kEnded) {
        sink.write("data: [DONE]\n\n");
        return;
      }
      if (sent && *sent == News::kMore) continue;
      if (Clock::now() - wrote_ > kPing) write(sink, ": ping\n\n");
      std::this_thread::sleep_for(kLook);
    }
  }

 private:
  enum class News { kNone, kMore, kEnded };

  /// The phase is read before the events: when it is final, the events read after it are all there
  /// are.
  Result<News> send_news(const ReplySink& sink) {
    const auto job = jobs_.get(job_);
    if (!job) return fail(job.error());
    const auto page = jobs_.events_after(job_, after_, kPage);
    if (!page) return fail(page.error());
    for (const JobEventRecord& event : page->events) {
      if (!write(sink, fmt::format("data: {}\n\n", to_text(to_openai_event(event))))) break;
      after_ = event.number;
    }
    if (page->has_more) return News::kMore;
    return is_final(job->phase) ? News::kEnded : News::kNone;
  }

  void send_error(const ReplySink& sink, const ApiError& error) {
    write(sink, fmt::format("data: {}\n\n", error_reply(error).body));
  }

  bool write(const ReplySink& sink, std::string_view text) {
    wrote_ = Clock::now();
    return sink.write(text);
  }

  JobStore& jobs_;
  std::string job_;
  int64_t after_;
  Clock::time_point wrote_ = Clock::now();
  Clock::time_point answered_ = Clock::now();
};

ApiReply follow_events(const ApiContext& context, const JobRecord& job, int64_t after) {
  HttpReply reply;
  reply.content_type = "text/event-stream";
  reply.headers.emplace_back("Cache-Control", "no-store");
  reply.stream = [&context, id = job.id, after](const ReplySink& sink) {
    Follower(context.jobs, id, after).run(sink);
  };
  return reply;
}

ApiReply list_events(const ApiContext& context, HttpRequest& request) {
  const auto job = find_own_job(context, request);
  if (!job) return api_fail(job.error());
  const std::string stream = request.query_value("stream").value_or("false");
  if (stream != "true" && stream != "false") {
    return api_fail(bad_request("stream must be true or false: " + stream, "stream"));
  }
  const auto limit = query_number(request, "limit", 20, 1, kPage);
  if (!limit) return api_fail(limit.error());
  const auto after = number_after(context, request, job->id);
  if (!after) return api_fail(after.error());
  if (stream == "true") return follow_events(context, *job, *after);
  const auto page = context.jobs.events_before(job->id, *after, *limit);
  if (!page) return api_fail(to_api_error(page.error()));
  std::vector<json> items;
  for (const JobEventRecord& event : page->events) items.push_back(to_openai_event(event));
  return json_reply(to_openai_page(std::move(items), page->has_more));
}

/// Every checkpoint event, newest first.
ApiResult<std::vector<json>> all_checkpoints(const ApiContext& context, const JobRecord& job) {
  std::vector<json> checkpoints;
  int64_t before = 0;
  for (;;) {
    const auto page = context.jobs.events_before(job.id, before, kPage);
    if (!page) return api_fail(to_api_error(page.error()));
    for (const JobEventRecord& event : page->events) {
      if (event.type == "checkpoint") checkpoints.push_back(to_openai_checkpoint(job, event));
    }
    if (!page->has_more || page->events.empty()) return checkpoints;
    before = page->events.back().number;
  }
}

ApiReply list_checkpoints(const ApiContext& context, HttpRequest& request) {
  const auto job = find_own_job(context, request);
  if (!job) return api_fail(job.error());
  const auto limit = query_number(request, "limit", 10, 1, kPage);
  if (!limit) return api_fail(limit.error());
  const auto all = all_checkpoints(context, *job);
  if (!all) return api_fail(all.error());
  auto first = all->begin();
  if (const auto after = request.query_value("after")) {
    while (first != all->end() && (*first)["id"] != *after) ++first;
    if (first == all->end()) {
      return api_fail(not_found("no such checkpoint of this job: " + *after, "after"));
    }
    ++first;
  }
  std::vector<json> items;
  while (first != all->end() && static_cast<int64_t>(items.size()) < *limit) {
    items.push_back(*first++);
  }
  return json_reply(to_openai_page(std::move(items), first != all->end()));
}

}  // namespace

std::vector<Route> event_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {{"GET",
           "/v1/fine_tuning/jobs/{id}/events",
           bind(list_events),
           Scope::kRead,
           {.summary = "Lists a job's events, newest first, or streams them, oldest first",
            .reply = "EventPage",
            .may_stream = true,
            .query = {{"after", "Id of the last event of the page before"},
                      {"limit", "1 to 100, default 20", "integer", 1, 100},
                      {"stream", "true: server-sent events until the job ends", "boolean"}}}},
          {"GET",
           "/v1/fine_tuning/jobs/{id}/checkpoints",
           bind(list_checkpoints),
           Scope::kRead,
           {.summary = "Lists a job's checkpoints, newest first",
            .reply = "CheckpointPage",
            .query = {{"after", "Id of the last checkpoint of the page before"},
                      {"limit", "1 to 100, default 10", "integer", 1, 100}}}}};
}

}  // namespace tunefleet::coordinator

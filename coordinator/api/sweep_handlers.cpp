#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/create_gate.h"
#include "coordinator/api/ids.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/api/page.h"
#include "coordinator/api/sweep_request.h"
#include "coordinator/sweep/sweep_jobs.h"
#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr const char* kIdPrefix = "ftsweep-";
constexpr size_t kIdCharacters = 24;
constexpr int64_t kMsPerSecond = 1000;
constexpr int64_t kDefaultPage = 20;
constexpr const char* kBodyDigest = "body_sha256";

json seconds_or_null(int64_t ms) { return ms > 0 ? json(ms / kMsPerSecond) : json(); }

/// JSON has no infinity: a loss that was no number is null.
json number_or_null(double value) { return std::isfinite(value) ? json(value) : json(); }

json head_of(const SweepRecord& sweep) {
  json shown = {{"id", sweep.id},
                {"object", "fine_tuning.sweep"},
                {"created_at", sweep.created_at_ms / kMsPerSecond},
                {"finished_at", seconds_or_null(sweep.finished_at_ms)},
                {"status", phase_name(sweep.phase)},
                {"model", sweep.request.value("model", json())},
                {"sweep", sweep.request.value("sweep", json())},
                {"job_count", sweep.trials.size()}};
  shown.update(sweep.plan);
  return shown;
}

json trial_json(const SweepRecord& sweep, const SweepPlan& plan, const Trial& trial, size_t i) {
  const auto standing = standing_of(plan, trial);
  json shown = {{"index", i},
                {"job", trial.made ? json(trial_job_id(sweep.id, i)) : json()},
                {"values", sweep.trials.at(i).at("values")},
                {"state", trial.made ? json(phase_name(trial.phase)) : json("waiting")},
                {"rung", standing ? json(standing->rung) : json()},
                {"step", standing ? json(standing->step) : json()},
                {"metric", standing ? number_or_null(standing->value) : json()}};
  if (trial.made && !is_final(trial.phase) && trial.stopping) shown["state"] = "stopping";
  return shown;
}

ApiReply sweep_reply(const ApiContext& context, const SweepRecord& sweep) {
  const auto plan = sweep_plan_from_json(sweep.plan);
  if (!plan) return api_fail(to_api_error(plan.error()));
  const auto trials = TrialReader(context.jobs).read(sweep, *plan);
  if (!trials) return api_fail(to_api_error(trials.error()));
  json shown = head_of(sweep);
  shown["jobs"] = json::array();
  for (size_t i = 0; i < trials->size(); ++i)
    shown["jobs"].push_back(trial_json(sweep, *plan, (*trials)[i], i));
  const auto best = best_trial(*plan, *trials);
  shown["best"] = best ? shown["jobs"][*best] : json();
  return json_reply(shown);
}

/// The sweep, if it is the caller's: 404 for anybody else's.
ApiResult<SweepRecord> find_own_sweep(const ApiContext& context, const HttpRequest& request) {
  const std::string& id = request.path_values.at("id");
  const auto unknown = [&] { return api_fail(not_found(fmt::format("no such sweep: {}", id))); };
  if (!is_id(id, kIdPrefix)) return unknown();
  auto sweep = context.sweeps.get(id);
  if (!sweep && sweep.error().code == ErrorCode::kNotFound) return unknown();
  if (!sweep) return api_fail(to_api_error(sweep.error()));
  if (sweep->owner != request.owner) return unknown();
  return std::move(*sweep);
}

/// With an Idempotency-Key the id follows from it: the same key makes the same sweep.
std::string id_for(const HttpRequest& request) {
  const std::string key = request.header("idempotency-key");
  if (key.empty()) return random_id(kIdPrefix, kIdCharacters);
  return kIdPrefix + storage::sha256_hex(request.owner + "\n" + key).substr(0, kIdCharacters);
}

/// The sweep that an earlier copy of this request made, whose reply was lost.
ApiResult<std::optional<SweepRecord>> find_made_before(const ApiContext& context,
                                                       const std::string& owner,
                                                       const std::string& digest) {
  auto sweeps = context.sweeps.list(owner);
  if (!sweeps) return api_fail(to_api_error(sweeps.error()));
  for (SweepRecord& sweep : *sweeps) {
    if (sweep.created_at_ms < context.now_ms() - kRetryWindow_ms) break;
    if (sweep.request.value(kBodyDigest, json()) == digest) return std::move(sweep);
  }
  return std::nullopt;
}

ApiReply create_sweep(const ApiContext& context, CreateGate& gate, HttpRequest& request) {
  const auto text = read_text_body(request);
  if (!text) return api_fail(text.error());
  const auto body = parse_json_object(*text);
  if (!body) return api_fail(body.error());
  const std::string digest = storage::sha256_hex(*text);
  const CreateGate::Pass pass(gate, request.owner + ":" + digest);
  if (!pass.entered()) {
    return api_fail(to_api_error(
        {ErrorCode::kUnavailable, "the same request is still being worked on, try again"}));
  }
  if (request.header("idempotency-key").empty() && is_retry(request)) {
    const auto before = find_made_before(context, request.owner, digest);
    if (!before) return api_fail(before.error());
    if (*before) return sweep_reply(context, **before);
  }
  auto wanted = read_sweep_request(*body, request.owner, context.resources());
  if (!wanted) return api_fail(wanted.error());
  wanted->id = id_for(request);
  wanted->request[kBodyDigest] = digest;
  auto stored = context.sweeps.create(*wanted);
  if (!stored && stored.error().code == ErrorCode::kConflict) {
    const auto earlier = context.sweeps.get(wanted->id);
    const bool same = earlier && earlier->owner == request.owner &&
                      earlier->request.value(kBodyDigest, json()) == wanted->request[kBodyDigest];
    if (same) return sweep_reply(context, *earlier);
    return api_fail(
        to_api_error({ErrorCode::kConflict, "the Idempotency-Key was used for another request"}));
  }
  if (!stored) return api_fail(to_api_error(stored.error()));
  context.wake_sweeps();
  return sweep_reply(context, *stored);
}

ApiReply get_sweep(const ApiContext& context, HttpRequest& request) {
  const auto sweep = find_own_sweep(context, request);
  if (!sweep) return api_fail(sweep.error());
  return sweep_reply(context, *sweep);
}

ApiReply list_sweeps(const ApiContext& context, HttpRequest& request) {
  const auto sweeps = context.sweeps.list(request.owner);
  if (!sweeps) return api_fail(to_api_error(sweeps.error()));
  std::vector<json> items;
  for (const SweepRecord& sweep : *sweeps) items.push_back(head_of(sweep));
  return page_reply(std::move(items), request, kDefaultPage);
}

ApiReply cancel_sweep(const ApiContext& context, HttpRequest& request) {
  const auto sweep = find_own_sweep(context, request);
  if (!sweep) return api_fail(sweep.error());
  if (sweep->phase == SweepPhase::kCancelled) return sweep_reply(context, *sweep);
  const auto moved = context.sweeps.move(sweep->id, SweepPhase::kCancelling);
  if (!moved) return api_fail(to_api_error(moved.error()));
  context.wake_sweeps();
  return sweep_reply(context, *moved);
}

}  // namespace

std::vector<Route> sweep_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  const auto gate = std::make_shared<CreateGate>();
  const auto create = [&context, gate](HttpRequest& request) {
    return create_sweep(context, *gate, request);
  };
  return {{"POST",
           "/v1/fine_tuning/sweeps",
           create,
           Scope::kSubmit,
           {.summary = "Submits a sweep: a group of jobs that differ in some values",
            .reply = "Sweep",
            .request = "CreateSweep"}},
          {"GET",
           "/v1/fine_tuning/sweeps",
           bind(list_sweeps),
           Scope::kRead,
           {.summary = "Lists your sweeps, newest first",
            .reply = "SweepPage",
            .query = {{"after", "Id of the last sweep of the page before"},
                      {"limit", "1 to 100, default 20", "integer", 1, 100}}}},
          {"GET",
           "/v1/fine_tuning/sweeps/{id}",
           bind(get_sweep),
           Scope::kRead,
           {.summary = "Tells about a sweep, its jobs and the best so far", .reply = "Sweep"}},
          {"POST",
           "/v1/fine_tuning/sweeps/{id}/cancel",
           bind(cancel_sweep),
           Scope::kSubmit,
           {.summary = "Stops a sweep and its jobs", .reply = "Sweep"}}};
}

}  // namespace tunefleet::coordinator

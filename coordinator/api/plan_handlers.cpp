#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/job_request.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/forecast/memory_forecast.h"
#include "coordinator/forecast/row_bound.h"
#include "coordinator/forecast/step_forecast.h"
#include "coordinator/forecast/time_forecast.h"
#include "coordinator/queue/job_rules.h"
#include "tuners/config/model_shapes.h"
#include "tuners/config/trainable_count.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 100;
constexpr int64_t kJobsLookedAt = 1000;
constexpr int64_t kLargestReadBytes = int64_t{64} << 20;
constexpr double kSecondsPerHour = 3600.0;

/// Files of the data set as the service keeps them.
struct DatasetFacts {
  int64_t rows = 0;
  std::optional<int64_t> longest = 0;  ///< Most tokens of a row; unset: not known.
};

DatasetFacts facts_of(const ApiContext& context, const JobRecord& job) {
  DatasetFacts facts;
  for (const json& id : job.request.at("dataset")) {
    const auto file = context.files.get(job.owner, id.get<std::string>());
    if (!file) continue;
    facts.rows += file->rows;
    const auto longest = longest_row(context.files.content_path(file->id), kLargestReadBytes);
    if (facts.longest)
      facts.longest = longest ? std::optional(std::max(*facts.longest, *longest)) : std::nullopt;
  }
  return facts;
}

/// The part that trains, tuner by tuner; `total` is null when one of them is not known.
json trainable_json(const Result<std::vector<tuners::TrainableCount>>& counts,
                    const tuners::ModelShapes& model) {
  json result = {{"total", nullptr}, {"of", model.parameter_count()}, {"tuners", json::array()}};
  if (!counts) {
    result["unknown"] = "the trainer would refuse this job: " + counts.error().message;
    return result;
  }
  int64_t total = 0;
  std::string unknown;
  for (const auto& count : *counts) {
    total += count.numbers.value_or(0);
    if (!count.numbers && unknown.empty()) unknown = count.unknown;
    result["tuners"].push_back({{"name", count.name},
                                {"type", count.type},
                                {"numbers", count.numbers ? json(*count.numbers) : json()},
                                {"unknown", count.numbers ? json() : json(count.unknown)}});
  }
  if (unknown.empty()) result["total"] = total;
  result["unknown"] = unknown.empty() ? json() : json(unknown);
  return result;
}

json steps_json(const StepForecast& steps) {
  return {{"total", steps.count.max_steps},
          {"per_epoch", steps.count.steps_per_epoch},
          {"rows", steps.rows},
          {"rows_per_step", steps.count.batch_total},
          {"gradient_accumulation_steps", steps.count.accumulation},
          {"bound", bound_name(steps.bound)},
          {"note", steps.note.empty() ? json() : json(steps.note)}};
}

json memory_json(const JobSpec& spec, const tuners::ModelShapes& model, const json& trainable,
                 const std::optional<int64_t>& longest) {
  if (trainable.at("total").is_null()) {
    return {{"per_rank", nullptr}, {"parts", nullptr}, {"unknown", trainable.at("unknown")}};
  }
  const int64_t limit = spec.max_length.value_or(model.max_position_embeddings);
  int64_t row = std::min(limit, longest.value_or(limit));
  if (spec.packing) row = std::min(limit, spec.packing_length.value_or(limit));
  const int64_t answers = spec.rlhf_type ? 2 : 1;  // Of a preference both are in one pass.
  const int64_t tokens = row * answers * spec.per_device_train_batch_size;
  const auto memory = forecast_memory(spec, model, trainable.at("total").get<int64_t>(), tokens);
  const auto total = memory.total();
  return {
      {"per_rank", total ? json(*total) : json()},
      {"parts",
       {{"runtime", memory.runtime},
        {"weights", memory.weights},
        {"trainables", memory.trainables},
        {"gradients", memory.gradients},
        {"optimizer", memory.optimizer ? json(*memory.optimizer) : json()},
        {"activations", memory.activations}}},
      {"tokens_per_pass", tokens},
      {"note", fmt::format("at most, for rows of {} tokens, {}", row,
                           row < limit ? "as many as the longest has bytes or ids"
                                       : "the most that are taken")},
      {"unknown", total ? json() : json("GaLore's state is as large as the projectors it finds")}};
}

/// The newest jobs of the caller's. Others' are not looked at: how long they took is not told.
Result<std::vector<JobRecord>> newest_jobs(const ApiContext& context, const std::string& owner) {
  std::vector<JobRecord> jobs;
  std::string after;
  while (static_cast<int64_t>(jobs.size()) < kJobsLookedAt) {
    auto page = context.jobs.list(owner, after, kPage);
    if (!page) return fail(page.error());
    for (auto& job : page->jobs) jobs.push_back(std::move(job));
    if (!page->has_more || jobs.empty()) break;
    after = jobs.back().id;
  }
  return jobs;
}

json time_json(const SpeedHistory& history, const JobSpec& spec, const StepForecast& steps) {
  if (history.jobs == 0) {
    return {{"seconds", nullptr},
            {"device_seconds_per_step", nullptr},
            {"device_hours", nullptr},
            {"jobs", 0},
            {"unknown", "no job of yours on this model with these tuners has finished yet"}};
  }
  const double per_step = history.device_s_per_row * static_cast<double>(steps.count.batch_total);
  const auto ranks = static_cast<double>(spec.workers.max);
  double device_s = per_step * static_cast<double>(steps.count.max_steps);
  if (spec.max_minutes > 0) device_s = std::min(device_s, spec.max_minutes * 60 * ranks);
  return {{"seconds", device_s / ranks},
          {"device_seconds_per_step", per_step},
          {"device_hours", device_s / kSecondsPerHour},
          {"jobs", history.jobs},
          {"unknown", nullptr}};
}

json start_json(const ApiContext& context, const JobRecord& job, const json& time) {
  const auto preview = context.fleet.preview(
      {.id = "this job",
       .tenant = job.owner,
       .min_workers = job.min_workers,
       .max_workers = job.max_workers,
       .priority = job.priority,
       .submitted_at_ms = context.now_ms(),
       .expected_ms = time.at("seconds").is_null()
                          ? 0
                          : static_cast<int64_t>(time.at("seconds").get<double>() * 1000)});
  const bool now = !preview.placement.empty();
  const int64_t at_ms = preview.estimated_start_ms;
  std::string reason = preview.reason;
  if (!preview.known) reason = "another coordinator plans, or none has planned yet";
  return {{"now", now},
          {"placement", now ? to_json(preview.placement) : json()},
          {"queue_position", preview.position > 0 ? json(preview.position) : json()},
          {"pending_reason", reason.empty() ? json() : json(reason)},
          {"estimated_start", at_ms > 0 ? json(at_ms / 1000) : json()}};
}

/// Everything that can be told of a job before it is submitted; nothing is stored.
ApiReply plan_job(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  auto wanted = read_job_request(*body, request.owner, context.resources());
  if (!wanted) return api_fail(wanted.error());
  const JobSpec spec = wanted->spec;
  const JobRecord job = queued_job(request.owner, std::move(*wanted));
  const auto model = tuners::read_model_shapes(spec.model);
  if (!model) return api_fail(to_api_error(model.error()));
  const auto jobs = newest_jobs(context, request.owner);
  if (!jobs) return api_fail(to_api_error(jobs.error()));

  const DatasetFacts data = facts_of(context, job);
  const auto steps = forecast_steps(spec, data.rows, data.longest, model->max_position_embeddings);
  const json trainable = trainable_json(tuners::count_trainable(spec, *model), *model);
  const json time = time_json(speed_of_jobs_like(job.spec, *jobs), spec, steps);
  return json_reply({{"object", "fine_tuning.job.plan"},
                     {"model", job.request.at("model")},
                     {"trainable", trainable},
                     {"steps", steps_json(steps)},
                     {"memory", memory_json(spec, *model, trainable, data.longest)},
                     {"time", time},
                     {"start", start_json(context, job, time)},
                     {"spec", shown_spec(job)}});
}

}  // namespace

std::vector<Route> plan_routes(const ApiContext& context) {
  return {{"POST",
           "/v1/fine_tuning/jobs/plan",
           [&context](HttpRequest& request) { return plan_job(context, request); },
           Scope::kSubmit,
           {.summary = "Tells what a job would take, without submitting it",
            .reply = "Plan",
            .request = "CreateJob"}}};
}

}  // namespace tunefleet::coordinator

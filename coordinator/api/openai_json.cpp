#include "coordinator/api/openai_json.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "coordinator/api/tuned_model.h"
#include "coordinator/queue/job_rules.h"
#include "proto/job_spec.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr double kBaseLearningRate = 1e-4;
constexpr int64_t kMsPerSecond = 1000;
constexpr double kMsPerHour = 3'600'000.0;
constexpr const char* kProgressFields[] = {"phase",         "step",         "max_steps",  "loss",
                                           "learning_rate", "tokens_per_s", "remaining_s"};

json seconds_or_null(int64_t ms) { return ms > 0 ? json(ms / kMsPerSecond) : json(); }

/// Null when there is none. Borrows: twenty jobs of a page have hundreds of fields.
const json& field(const json& object, const char* key) {
  static const json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

double number(const json& object, const char* key, double fallback) {
  const json& value = field(object, key);
  return value.is_number() ? value.get<double>() : fallback;
}

/// A whole number as it is stored; 0 when there is none.
json whole_number(const json& object, const char* key) {
  const json& value = field(object, key);
  return value.is_number_integer() ? value : json(0);
}

/// Rows of one optimizer step over all ranks; proto/job_spec.h tells what an unset accumulation
/// means.
int64_t global_batch(const json& spec) {
  const auto at_once = static_cast<int64_t>(number(spec, "per_device_train_batch_size", 1));
  const int64_t workers = worker_range_of(field(spec, "workers")).value_or(WorkerRange{}).max;
  const int64_t ranks_rows = std::max<int64_t>(at_once * workers, 1);
  const int64_t by_default = std::max<int64_t>(1, (16 + ranks_rows - 1) / ranks_rows);
  const double steps = number(spec, "gradient_accumulation_steps", static_cast<double>(by_default));
  return ranks_rows * static_cast<int64_t>(steps);
}

/// One of OpenAI's six: strict clients refuse any other.
std::string_view openai_status(JobPhase phase) {
  return phase_name(phase == JobPhase::kPaused ? JobPhase::kQueued : phase);
}

/// OpenAI's three; n_epochs is whole there, so a part of an epoch or a bound in steps is "auto".
json hyperparameters(const json& spec) {
  const double epochs = number(spec, "num_train_epochs", 0);
  const bool whole =
      epochs >= 1 && epochs == std::floor(epochs) && number(spec, "max_steps", -1) <= 0;
  return {{"n_epochs", whole ? json(static_cast<int64_t>(epochs)) : json("auto")},
          {"batch_size", global_batch(spec)},
          {"learning_rate_multiplier", number(spec, "learning_rate", 0) / kBaseLearningRate}};
}

/// The method with its hyperparameters, which are those of supervised training and beta.
json method(const json& spec, json values) {
  const json& type = field(spec, "rlhf_type");
  if (type.is_null())
    return {{"type", "supervised"}, {"supervised", {{"hyperparameters", values}}}};
  values["beta"] = field(spec, "beta");
  return {{"type", type}, {type.get<std::string>(), {{"hyperparameters", std::move(values)}}}};
}

}  // namespace

json shown_spec(JobRecord job) {
  json spec = job.spec.is_object() ? std::move(job.spec) : json::object();
  spec["model"] = field(job.request, "model");
  for (const char* key : {"dataset", "val_dataset", "adapters", "resume_from_checkpoint"}) {
    if (const json& named = field(job.request, key); !named.is_null()) spec[key] = named;
  }
  spec.erase("output_dir");
  return spec;
}

namespace {

json error_of(const JobRecord& job) {
  if (!job.error) return json();
  return {{"code", error_code_name(job.error->code)},
          {"message", job.error->message},
          {"param", nullptr}};
}

json progress_of(const JobRecord& job) {
  if (!job.progress.is_object()) return json();
  json progress = json::object();
  for (const char* key : kProgressFields) progress[key] = field(job.progress, key);
  return progress;
}

json estimated_finish(const JobRecord& job, const json& progress, int64_t now_ms) {
  const double remaining = number(progress, "remaining_s", 0);
  if (job.phase != JobPhase::kRunning || !(remaining > 0 && remaining < 1e9)) return json();
  return now_ms / kMsPerSecond + static_cast<int64_t>(remaining);
}

/// The true state in one word, where OpenAI's statuses have none for it: paused, retrying,
/// stopping.
std::string state_of(const JobRecord& job, int64_t now_ms) {
  if (job.phase == JobPhase::kRunning && job.stop != StopReason::kNone) return "stopping";
  if (job.phase == JobPhase::kQueued && job.not_before_ms > now_ms) return "retrying";
  return std::string(phase_name(job.phase));
}

/// What the job has cost so far.
double device_hours(const JobRecord& job, int64_t now_ms) {
  const int64_t current =
      job.phase == JobPhase::kRunning ? job.workers * (now_ms - job.started_at_ms) : 0;
  return static_cast<double>(job.device_ms + std::max<int64_t>(current, 0)) / kMsPerHour;
}

void add_extensions(json& shown, JobRecord job, const QueuePosition& queue, int64_t now_ms) {
  const bool waiting = job.phase == JobPhase::kQueued;
  shown["name"] = field(job.spec, "name");
  shown["attempt"] = job.attempt;
  shown["workers"] = job.workers;
  shown["min_workers"] = job.min_workers;
  shown["max_workers"] = job.max_workers;
  shown["priority"] = job.priority;
  shown["state"] = state_of(job, now_ms);
  shown["agent"] = job.placement.empty() ? json() : json(job.lead_host());
  shown["placement"] = to_json(job.placement);
  shown["started_at"] = seconds_or_null(job.started_at_ms);
  shown["cancel_requested"] = job.cancel_requested();
  shown["device_hours"] = device_hours(job, now_ms);
  shown["group"] = job.group.empty() ? json() : json(job.group);
  shown["queue_position"] = waiting && queue.position > 0 ? json(queue.position) : json();
  shown["pending_reason"] = waiting && !queue.reason.empty() ? json(queue.reason) : json();
  shown["estimated_start"] = waiting ? seconds_or_null(queue.estimated_start_ms) : json();
  shown["checkpoint"] = field(job.result, "checkpoint");
  shown["result"] = std::move(job.result);
  shown["failure"] = std::move(job.failure);
  shown["spec"] = shown_spec(std::move(job));
}

}  // namespace

json to_openai_job(JobRecord job, const QueuePosition& queue, int64_t now_ms) {
  const bool succeeded = job.phase == JobPhase::kSucceeded;
  const json progress = progress_of(job);
  const json values = hyperparameters(job.spec);
  const json metadata = field(job.request, "metadata");
  json shown{{"id", job.id},
             {"object", "fine_tuning.job"},
             {"created_at", job.created_at_ms / kMsPerSecond},
             {"finished_at", seconds_or_null(job.finished_at_ms)},
             {"model", field(job.request, "model")},
             {"fine_tuned_model", succeeded ? json(tuned_model_name(job)) : json()},
             {"organization_id", job.owner},
             {"status", openai_status(job.phase)},
             {"hyperparameters", values},
             {"method", method(job.spec, values)},
             {"training_file", field(job.request, "training_file")},
             {"validation_file", field(job.request, "validation_file")},
             {"result_files", json::array()},
             {"trained_tokens", field(job.result, "trained_tokens")},
             {"seed", whole_number(job.spec, "seed")},
             {"error", error_of(job)},
             {"estimated_finish", estimated_finish(job, progress, now_ms)},
             {"integrations", json::array()},
             {"metadata", metadata}};
  shown["progress"] = progress;
  add_extensions(shown, std::move(job), queue, now_ms);
  return shown;
}

json to_openai_event(const JobEventRecord& event) {
  return {{"id", event.id},
          {"object", "fine_tuning.job.event"},
          {"created_at", event.created_at_ms / kMsPerSecond},
          {"level", event.level},
          {"message", event.message},
          {"type", event.type == "metrics" ? "metrics" : "message"},
          {"data", event.data},
          {"number", event.number},
          {"kind", event.type}};
}

json to_openai_checkpoint(const JobRecord& job, const JobEventRecord& event) {
  const auto step = static_cast<int64_t>(number(event.data, "step", 0));
  const json& metrics = field(event.data, "metrics");
  json shown{{"step", step}};
  const auto copy = [&](const char* to, std::initializer_list<const char*> from) {
    for (const char* key : from) {
      if (const json& value = field(metrics, key); value.is_number()) shown[to] = value;
    }
  };
  copy("train_loss", {"loss", "train_loss"});
  copy("train_mean_token_accuracy", {"token_acc"});
  copy("valid_loss", {"eval_loss"});
  copy("full_valid_loss", {"eval_loss"});
  copy("full_valid_mean_token_accuracy", {"eval_token_acc"});
  return {{"id", "ftckpt-" + event.id.substr(event.id.find('-') + 1)},
          {"object", "fine_tuning.job.checkpoint"},
          {"created_at", event.created_at_ms / kMsPerSecond},
          {"fine_tuned_model_checkpoint", checkpoint_name(job, step)},
          {"fine_tuning_job_id", job.id},
          {"step_number", step},
          {"metrics", shown},
          {"path", field(event.data, "path")}};
}

json to_openai_file(const StoredFile& file) {
  json shown{{"id", file.id},
             {"object", "file"},
             {"bytes", file.bytes},
             {"created_at", file.created_at},
             {"filename", file.filename},
             {"purpose", file.purpose},
             {"status", file.status},
             {"status_details", file.status_details ? json(*file.status_details) : json()},
             {"rows", file.rows},
             {"preferences", file.preferences}};
  if (file.expires_at) shown["expires_at"] = *file.expires_at;
  return shown;
}

json to_openai_model(const std::string& id, int64_t created_at, const std::string& owner) {
  return {{"id", id}, {"object", "model"}, {"created", created_at}, {"owned_by", owner}};
}

json to_openai_page(std::vector<json> items, bool has_more) {
  json page{{"object", "list"},
            {"has_more", has_more},
            {"first_id", items.empty() ? json() : field(items.front(), "id")},
            {"last_id", items.empty() ? json() : field(items.back(), "id")}};
  page["data"] = std::move(items);
  return page;
}

}  // namespace tunefleet::coordinator

#include "coordinator/forecast/time_forecast.h"

#include <algorithm>
#include <string>

#include "proto/step_count.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kNewest = 20;
constexpr double kMsPerSecond = 1000.0;

/// Names and types of the tuners, without their options.
json tuners_of(const json& spec) {
  json types = json::array();
  const json tuners = spec.value("tuners", json::object());
  for (const auto& [name, options] : tuners.items()) {
    const bool has_type = options.is_object() && options.contains("type");
    types.push_back(has_type ? options.at("type") : json());
  }
  if (types.empty()) types.push_back(spec.value("tuner_type", ""));
  return types;
}

bool alike(const json& a, const json& b) {
  const auto same = [&](const char* key) { return a.value(key, json()) == b.value(key, json()); };
  return same("model") && same("torch_dtype") && same("rlhf_type") && tuners_of(a) == tuners_of(b);
}

double number_of(const json& object, const char* key, double otherwise) {
  if (!object.is_object()) return otherwise;
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

/// Rows of a step: as the ranks counted them.
double rows_per_step(const JobRecord& job) {
  JobSpec spec;
  spec.per_device_train_batch_size =
      static_cast<int64_t>(number_of(job.spec, "per_device_train_batch_size", 1));
  const auto given = number_of(job.spec, "gradient_accumulation_steps", 0);
  if (given > 0) spec.gradient_accumulation_steps = static_cast<int64_t>(given);
  spec.workers = {job.min_workers, job.max_workers};
  return static_cast<double>(count_steps(spec, 1, job.workers).batch_total);
}

}  // namespace

SpeedHistory speed_of_jobs_like(const json& spec, const std::vector<JobRecord>& jobs) {
  std::vector<const JobRecord*> like;
  for (const JobRecord& job : jobs) {
    const bool done = job.phase == JobPhase::kSucceeded && job.device_ms > 0;
    if (done && number_of(job.result, "step", 0) > 0 && alike(spec, job.spec)) like.push_back(&job);
  }
  std::ranges::sort(like, std::greater(), &JobRecord::created_at_ms);
  like.resize(std::min(like.size(), kNewest));
  if (like.empty()) return {};
  double device_s = 0.0;
  double rows = 0.0;
  for (const JobRecord* job : like) {
    device_s += static_cast<double>(job->device_ms) / kMsPerSecond;
    rows += number_of(job->result, "step", 1) * rows_per_step(*job);
  }
  return {.jobs = static_cast<int64_t>(like.size()), .device_s_per_row = device_s / rows};
}

}  // namespace tunefleet::coordinator

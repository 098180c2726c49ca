#include "coordinator/sweep/sweep_jobs.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "proto/job_spec.h"
#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kEventsAtOnce = 500;
constexpr size_t kIdCharacters = 24;
constexpr const char* kStepField = "global_step/max_steps";

/// 50 of "50/300".
std::optional<int64_t> step_of(const json& data) {
  const auto found = data.find(kStepField);
  if (found == data.end() || !found->is_string()) return std::nullopt;
  const std::string& text = found->get_ref<const std::string&>();
  int64_t step = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  return error == std::errc() ? std::optional(step) : std::nullopt;
}

int64_t number_in(const json& spec, const char* key) {
  const auto found = spec.find(key);
  return found != spec.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

std::string trial_job_id(const std::string& sweep, size_t trial) {
  return "ftjob-" +
         storage::sha256_hex(sweep + ":" + std::to_string(trial)).substr(0, kIdCharacters);
}

JobRecord trial_job(const SweepRecord& sweep, size_t trial) {
  const json& made_of = sweep.trials.at(trial);
  JobRecord job;
  job.id = trial_job_id(sweep.id, trial);
  job.owner = sweep.owner;
  job.group = sweep.id;
  job.phase = JobPhase::kQueued;
  job.spec = made_of.at("spec");
  job.request = made_of.at("request");
  const auto workers = worker_range_of(job.spec.value("workers", json(1))).value_or(WorkerRange{});
  job.workers = job.max_workers = workers.max;
  job.min_workers = workers.min;
  job.priority = number_in(job.spec, "priority");
  return job;
}

Status TrialReader::read_events(const std::string& job, const std::string& metric, Known& known) {
  for (;;) {
    const auto page = jobs_.events_after(job, known.events, kEventsAtOnce);
    if (!page) return fail(page.error());
    for (const JobEventRecord& event : page->events) {
      known.events = event.number;
      if (event.type != "metrics" || !event.data.is_object()) continue;
      const auto value = event.data.find(metric);
      const auto step = step_of(event.data);
      if (value == event.data.end() || !step || *step < 1) continue;
      // JSON has no infinity and no NaN: null is a loss that is neither.
      known.metrics[*step] =
          value->is_number() ? value->get<double>() : std::numeric_limits<double>::infinity();
    }
    if (!page->has_more) return {};
  }
}

Result<std::vector<Trial>> TrialReader::read(const SweepRecord& sweep, const SweepPlan& plan) {
  const auto jobs = jobs_.in_group(sweep.id);
  if (!jobs) return fail(jobs.error());
  std::vector<Trial> trials(sweep.trials.size());
  auto& known = known_[sweep.id];
  for (size_t i = 0; i < trials.size(); ++i) {
    const auto job = std::ranges::find(*jobs, trial_job_id(sweep.id, i), &JobRecord::id);
    if (job == jobs->end()) continue;
    Known& of_job = known[job->id];
    if (auto status = read_events(job->id, plan.metric, of_job); !status)
      return fail(status.error());
    trials[i] = {.made = true,
                 .phase = job->phase,
                 .stopping = job->cancel_requested(),
                 .metrics = of_job.metrics};
  }
  return trials;
}

void TrialReader::keep_only(const std::vector<SweepRecord>& sweeps) {
  std::erase_if(known_, [&](const auto& entry) {
    return std::ranges::find(sweeps, entry.first, &SweepRecord::id) == sweeps.end();
  });
}

}  // namespace tunefleet::coordinator

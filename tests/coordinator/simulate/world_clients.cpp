#include <fmt/format.h>

#include <algorithm>

#include "coordinator/sweep/sweep_jobs.h"
#include "coordinator/sweep/sweep_plan.h"
#include "tests/coordinator/simulate/crowd.h"
#include "tests/coordinator/simulate/simulated_world.h"

namespace tunefleet::simulate {
namespace {

constexpr int64_t kTrialSteps = 30;

}  // namespace

bool World::submit(const Wish& wish) {
  const std::string id = job_id(wish.job);
  Draws draws(scenario_.seed, 100'000 + static_cast<uint64_t>(wish.job));
  const int64_t min_workers = draws.between(1, std::min<int64_t>(3, slots()));
  // The same each time it is asked.
  auto& run = disk_.runs[id];
  run.length = draws.between(2, 60);
  run.fails = draws.chance(0.3) ? 0.03 : 0.0;
  run.user_error = draws.chance(0.08);
  const int64_t max_workers = draws.chance(0.3) ? min_workers + 2 : min_workers;
  const std::string key = fmt::format("key-{}", wish.job);
  const auto made = client_.create({.id = id,
                                    .owner = fmt::format("tenant-{}", draws.between(0, 2)),
                                    .phase = JobPhase::kQueued,
                                    .priority = draws.between(0, kHighestPriority),
                                    .workers = max_workers,
                                    .min_workers = min_workers,
                                    .max_workers = max_workers,
                                    .spec = {{"seed", 1}}},
                                   key);
  if (!made) return false;
  invariants_.accepted(key, made->id);
  return true;
}

/// A sweep whose trials tell a loss of their own at each step.
bool World::submit_sweep(const Wish& wish) {
  coordinator::SweepRecord sweep{.id = fmt::format("ftsweep-{}", wish.job), .owner = "tenant-0"};
  Draws draws(scenario_.seed, 200'000 + static_cast<uint64_t>(wish.job));
  sweep.plan = to_json(coordinator::SweepPlan{
      .metric = "loss",
      .halving = coordinator::Halving{.eta = 2, .min_steps = 4, .max_steps = kTrialSteps},
      .max_parallel = draws.between(1, 4)});
  const auto trials = static_cast<size_t>(draws.between(3, 6));
  for (size_t i = 0; i < trials; ++i) {
    sweep.trials.push_back({{"spec", {{"workers", 1}}}, {"request", nlohmann::json::object()}});
    auto& run = disk_.runs[coordinator::trial_job_id(sweep.id, i)];
    run.length = kTrialSteps;
    run.loss = draws.unit();
    run.fails = draws.chance(0.2) ? 0.03 : 0.0;
  }
  const auto made = client_sweeps_.create(sweep);
  if (!made && made.error().code == ErrorCode::kUnavailable) return false;
  invariants_.sweep_accepted(sweep.id, trials);  // A conflict: made when its answer was lost.
  return true;
}

/// Whether the client has an answer and need not ask again.
bool World::grant(const Wish& wish) {
  const std::string id = job_id(wish.job);
  if (wish.kind == Wish::Kind::kSubmit) return submit(wish);
  if (wish.kind == Wish::Kind::kSweep) return submit_sweep(wish);
  if (wish.kind == Wish::Kind::kCancelSweep) {
    const auto moved = client_sweeps_.move(fmt::format("ftsweep-{}", wish.job),
                                           coordinator::SweepPhase::kCancelling);
    return moved || moved.error().code != ErrorCode::kUnavailable;
  }
  Result<JobRecord> answer;
  if (wish.kind == Wish::Kind::kResume) {
    answer = client_.resume(id);
  } else {
    const bool cancel = wish.kind == Wish::Kind::kCancel;
    answer = client_.request_stop(id, cancel ? StopReason::kCancel : StopReason::kPause, "", 0);
    if (answer && cancel) invariants_.cancel_accepted(id);
  }
  return answer || answer.error().code != ErrorCode::kUnavailable;
}

void World::grant_wishes() {
  for (size_t i = 0; i < wishes_.size();) {
    if (wishes_[i].at_ms <= now_ms_ && grant(wishes_[i])) {
      wishes_.erase(wishes_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  for (SimCoordinator& each : coordinators_) {
    if (each.reconciler && !each.frozen) each.reconciler->look_again();
  }
}

int64_t World::work_of(const JobRecord& job) { return job.max_workers * disk_.runs[job.id].length; }

void World::submit_for_sure(const JobRecord& job, int64_t length) {
  disk_.runs[job.id].length = length;
  const auto made = truth_->create(job, job.id);
  invariants_.accepted(job.id, made->id);
}

/// See Scenario::crowd. When nothing fails, the wide job has to start within its patience.
void World::crowd() {
  const std::string wide = "ftjob-wide";
  Patience patience(now_ms_, slots(), kHighestPriority, kAgeingPerHour);
  for (const auto& jobs : {*truth_->queued(), *truth_->running()}) {
    for (const JobRecord& job : jobs) patience.queued(now_ms_, work_of(job));
  }
  const auto new_job = [](const std::string& id, const std::string& owner, int64_t ranks) {
    return JobRecord{.id = id,
                     .owner = owner,
                     .phase = JobPhase::kQueued,
                     .workers = ranks,
                     .min_workers = ranks,
                     .max_workers = ranks,
                     .spec = {{"seed", 1}}};
  };
  const int64_t begun_ms = now_ms_;
  submit_for_sure(new_job(wide, "patient", slots()), 5);
  Crowd crowd(scenario_.seed, slots());
  for (int64_t count = 0; verdict_.broken.empty() && truth_->get(wide)->attempt == 0;) {
    if (now_ms_ > patience.until_ms()) {
      return broke(fmt::format("a job starved: {} with {} ranks has waited for {} s", wide, slots(),
                               (now_ms_ - begun_ms) / 1'000));
    }
    for (const CrowdJob& drawn : crowd.next()) {
      JobRecord job = new_job(fmt::format("ftjob-crowd-{}", count),
                              fmt::format("tenant-{}", count % 3), drawn.ranks);
      job.priority = kHighestPriority;
      patience.queued(now_ms_, drawn.ranks * drawn.length);
      submit_for_sure(job, drawn.length);
      ++count;
    }
    step();
  }
}

}  // namespace tunefleet::simulate

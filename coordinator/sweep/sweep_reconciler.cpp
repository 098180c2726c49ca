#include "coordinator/sweep/sweep_reconciler.h"

#include <fmt/format.h>

namespace tunefleet::coordinator {
namespace {

/// Whether it had been done before, or the job ended meanwhile: nothing is left to do.
bool is_done(const Error& error) { return error.code == ErrorCode::kConflict; }

}  // namespace

Status SweepReconciler::look() {
  const auto sweeps = sweeps_.unfinished();
  if (!sweeps) return fail(sweeps.error());
  reader_.keep_only(*sweeps);
  Status first;
  for (const SweepRecord& sweep : *sweeps) {
    // What is wrong with one sweep is no reason to leave the others alone.
    if (auto status = advance(sweep); !status && first) first = fail(sweep.id, status.error());
  }
  return first;
}

Status SweepReconciler::advance(const SweepRecord& sweep) {
  const auto plan = sweep_plan_from_json(sweep.plan);
  if (!plan) return fail(plan.error());
  const auto trials = reader_.read(sweep, *plan);
  if (!trials) return fail(trials.error());
  return carry_out(sweep, decide(sweep.phase, *plan, *trials));
}

Status SweepReconciler::carry_out(const SweepRecord& sweep, const SweepActions& actions) {
  // A cancelled sweep's jobs are cancelled as their user wants; others are stopped by the sweep.
  const auto why =
      sweep.phase == SweepPhase::kCancelling ? StopReason::kCancel : StopReason::kSweep;
  for (const auto& [trial, reason] : actions.stop) {
    const auto asked =
        jobs_.request_stop(trial_job_id(sweep.id, trial), why,
                           fmt::format("stopped by sweep {}: {}", sweep.id, reason), 0);
    if (!asked && !is_done(asked.error())) return fail(asked.error());
  }
  for (const size_t trial : actions.make) {
    const auto made = jobs_.create(trial_job(sweep, trial), "");
    if (!made && !is_done(made.error())) return fail(made.error());
  }
  if (!actions.stop.empty() || !actions.make.empty()) wake_();
  if (!actions.move) return {};
  const auto moved = sweeps_.move(sweep.id, *actions.move);
  if (!moved && !is_done(moved.error())) return fail(moved.error());
  return {};
}

}  // namespace tunefleet::coordinator

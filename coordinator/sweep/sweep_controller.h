#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/queue/job_record.h"
#include "coordinator/queue/sweep_record.h"
#include "coordinator/sweep/sweep_plan.h"

namespace tunefleet::coordinator {

/// One job of a sweep, as stored. A trial that is not made yet has no job.
struct Trial {
  bool made = false;
  JobPhase phase = JobPhase::kQueued;
  bool stopping = false;  ///< It has been asked to end.
  /// The sweep's metric by optimizer step; infinite where training gave no number.
  std::map<int64_t, double> metrics{};

  bool ended() const { return made && is_final(phase); }
};

/// How far a trial has come, and how well it does there.
struct Standing {
  int64_t rung = 0;  ///< Rungs it has reached, max_steps being the last; 0 without halving.
  int64_t step = 0;  ///< Where the value was measured.
  double value = 0.0;
};
/// Unset before the first rung (without halving: before the first measurement).
std::optional<Standing> standing_of(const SweepPlan& plan, const Trial& trial);

/// The best so far: of the trials that came furthest the one with the lowest value, the first of
/// equals. Unset while nobody has a standing.
std::optional<size_t> best_trial(const SweepPlan& plan, const std::vector<Trial>& trials);

struct TrialStop {
  size_t trial = 0;
  std::string reason{};  ///< "behind at step 100, rank 5 of 9"
  bool operator==(const TrialStop&) const = default;
};

/// What is to be done now.
struct SweepActions {
  std::vector<size_t> make{};  ///< Trials whose jobs are to be submitted.
  std::vector<TrialStop> stop{};
  std::optional<SweepPhase> move{};  ///< The sweep's next phase.
  bool operator==(const SweepActions&) const = default;
};

/// Decides what a sweep does next. Pure: nothing but what is stored counts, so that it goes on
/// after a restart where it was, and two coordinators decide the same.
///
/// - At most max_parallel jobs are under way; the next ones are made in their order.
/// - A trial is compared at the highest rung it has reached, with all that reached this rung. With
///   n >= eta of them, those behind the best ceil(n / eta) are stopped. Equal values: the earlier
///   trial is ahead.
/// - When all trials have ended, the sweep has: well, if one of them ended well or was stopped by
///   rank; as failed otherwise. While it is being cancelled nothing is made and all that runs is
///   stopped.
SweepActions decide(SweepPhase phase, const SweepPlan& plan, const std::vector<Trial>& trials);

}  // namespace tunefleet::coordinator

#include "coordinator/sweep/sweep_controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace tunefleet::coordinator {
namespace {

/// The value at the first measurement from `step` on; unset before it.
std::optional<double> value_from(const Trial& trial, int64_t step) {
  const auto found = trial.metrics.lower_bound(step);
  return found == trial.metrics.end() ? std::nullopt : std::optional(found->second);
}

/// Where a trial stands among all that reached `rung`, and how many these are.
struct Place {
  int64_t rank = 1;
  int64_t of = 0;
};

Place place_of(size_t trial, int64_t rung, const std::vector<Trial>& trials) {
  const double own = *value_from(trials[trial], rung);
  Place place;
  for (size_t other = 0; other < trials.size(); ++other) {
    const auto value = value_from(trials[other], rung);
    if (!value) continue;
    ++place.of;
    if (std::tuple(*value, other) < std::tuple(own, trial)) ++place.rank;
  }
  return place;
}

/// Why the trial is not among those that go on; unset when it is, or nobody can tell yet.
std::optional<std::string> cut_of(size_t trial, const SweepPlan& plan,
                                  const std::vector<Trial>& trials) {
  const auto standing = standing_of(plan, trials[trial]);
  if (!plan.halving || !standing) return std::nullopt;
  const auto rungs = plan.rungs();
  if (standing->rung > static_cast<int64_t>(rungs.size())) return std::nullopt;  // At its end.
  const int64_t rung = rungs[static_cast<size_t>(standing->rung) - 1];
  const Place place = place_of(trial, rung, trials);
  const int64_t eta = plan.halving->eta;
  const int64_t go_on = (place.of + eta - 1) / eta;
  if (place.of < eta || place.rank <= go_on) return std::nullopt;
  return fmt::format("behind at step {2}, rank {0} of {1}", place.rank, place.of, rung);
}

/// The phase of a sweep all of whose trials have ended.
SweepPhase end_of(const SweepPlan& plan, const std::vector<Trial>& trials) {
  for (size_t i = 0; i < trials.size(); ++i) {
    const bool stopped = trials[i].phase == JobPhase::kCancelled && cut_of(i, plan, trials);
    if (trials[i].phase == JobPhase::kSucceeded || stopped) return SweepPhase::kSucceeded;
  }
  return SweepPhase::kFailed;
}

SweepActions cancel(const std::vector<Trial>& trials) {
  SweepActions actions;
  bool under_way = false;
  for (size_t i = 0; i < trials.size(); ++i) {
    if (!trials[i].made || trials[i].ended()) continue;
    under_way = true;
    if (!trials[i].stopping) actions.stop.push_back({i, "the sweep was cancelled"});
  }
  if (!under_way) actions.move = SweepPhase::kCancelled;
  return actions;
}

}  // namespace

std::optional<Standing> standing_of(const SweepPlan& plan, const Trial& trial) {
  if (trial.metrics.empty()) return std::nullopt;
  if (!plan.halving) {
    const auto& [step, value] = *trial.metrics.rbegin();
    return Standing{.rung = 0, .step = step, .value = value};
  }
  auto rungs = plan.rungs();
  rungs.push_back(plan.halving->max_steps);
  for (size_t i = rungs.size(); i > 0; --i) {
    const auto value = value_from(trial, rungs[i - 1]);
    if (value) return Standing{static_cast<int64_t>(i), rungs[i - 1], *value};
  }
  return std::nullopt;
}

std::optional<size_t> best_trial(const SweepPlan& plan, const std::vector<Trial>& trials) {
  std::optional<size_t> best;
  std::tuple<int64_t, double> lowest;  // Rungs left behind count first, hence negative.
  for (size_t i = 0; i < trials.size(); ++i) {
    const auto standing = standing_of(plan, trials[i]);
    if (!standing) continue;
    const std::tuple<int64_t, double> own(-standing->rung, standing->value);
    if (best && lowest <= own) continue;
    best = i;
    lowest = own;
  }
  return best;
}

SweepActions decide(SweepPhase phase, const SweepPlan& plan, const std::vector<Trial>& trials) {
  if (is_final(phase)) return {};
  if (phase == SweepPhase::kCancelling) return cancel(trials);
  SweepActions actions;
  int64_t under_way = 0;
  bool all_ended = true;
  for (size_t i = 0; i < trials.size(); ++i) {
    const Trial& trial = trials[i];
    all_ended = all_ended && trial.ended();
    if (!trial.made || trial.ended()) continue;
    ++under_way;
    const auto reason = trial.stopping ? std::nullopt : cut_of(i, plan, trials);
    if (reason) actions.stop.push_back({i, *reason});
  }
  for (size_t i = 0; i < trials.size() && under_way < plan.max_parallel; ++i) {
    if (trials[i].made) continue;
    actions.make.push_back(i);
    ++under_way;
  }
  if (all_ended) actions.move = end_of(plan, trials);
  return actions;
}

}  // namespace tunefleet::coordinator

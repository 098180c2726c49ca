#include <algorithm>

#include "tests/coordinator/simulate/sim_random.h"
#include "tests/coordinator/simulate/world.h"

namespace tunefleet::simulate {
namespace {

constexpr int64_t kBusyMs = 150'000;

Disturbance draw_disturbance(Draws& draws, int64_t agents) {
  Disturbance each{.kind = static_cast<Disturbance::Kind>(draws.between(0, 5)),
                   .at_ms = draws.between(1, kBusyMs),
                   .for_ms = draws.between(1, 25) * 1'000};
  const bool of_agent =
      each.kind == Disturbance::Kind::kCutAgent || each.kind == Disturbance::Kind::kCrashAgent;
  each.which = of_agent ? draws.between(0, agents - 1) : draws.between(0, 1);
  each.tears = each.kind == Disturbance::Kind::kCrashAgent && draws.chance(0.5);
  return each;
}

/// Removes runs of elements, halving their length, as long as `still_fails`.
template <typename T, typename StillFails>
void remove_what_can_go(std::vector<T>& list, const StillFails& still_fails) {
  for (size_t length = std::max<size_t>(list.size() / 2, 1); length >= 1; length /= 2) {
    for (size_t first = 0; first + length <= list.size();) {
      std::vector<T> kept = list;
      const auto begin = kept.begin() + static_cast<std::ptrdiff_t>(first);
      kept.erase(begin, begin + static_cast<std::ptrdiff_t>(length));
      std::swap(list, kept);
      if (!still_fails()) {
        std::swap(list, kept);
        ++first;
      }
    }
  }
}

}  // namespace

Scenario draw_scenario(uint64_t seed, Breakage breakage) {
  Draws draws(seed, 0);
  Scenario scenario{.seed = seed, .breakage = breakage};
  const int64_t agents = draws.between(1, 5);
  for (int64_t i = 0; i < agents; ++i) scenario.agent_slots.push_back(draws.between(1, 4));
  if (draws.chance(0.7)) {
    scenario.loss = draws.unit() * 0.3;
    scenario.repeat = draws.unit() * 0.5;
    scenario.slowest_ms = draws.between(1, 900);
  }
  const int64_t disturbances = draws.between(0, 14);
  for (int64_t i = 0; i < disturbances; ++i) {
    scenario.disturbances.push_back(draw_disturbance(draws, agents));
  }
  std::ranges::sort(scenario.disturbances, {}, &Disturbance::at_ms);
  const int64_t slots = *std::ranges::max_element(scenario.agent_slots);
  const int64_t jobs = draws.between(1, 3 + 3 * slots);
  for (int64_t job = 0; job < jobs; ++job) {
    const int64_t at_ms = draws.between(1, kBusyMs);
    scenario.wishes.push_back({.kind = Wish::Kind::kSubmit, .at_ms = at_ms, .job = job});
    if (draws.chance(0.25)) {
      scenario.wishes.push_back(
          {.kind = Wish::Kind::kCancel, .at_ms = at_ms + draws.between(1, 60'000), .job = job});
    }
    if (draws.chance(0.2)) {
      const int64_t pause_ms = at_ms + draws.between(1, 60'000);
      scenario.wishes.push_back({.kind = Wish::Kind::kPause, .at_ms = pause_ms, .job = job});
      scenario.wishes.push_back(
          {.kind = Wish::Kind::kResume, .at_ms = pause_ms + draws.between(1, 40'000), .job = job});
    }
  }
  // From a stream of their own: the rest of a seed stays as it was without them.
  Draws more(seed, 1);
  scenario.crowd = more.chance(0.05);
  if (more.chance(0.25)) {
    const int64_t at_ms = more.between(1, kBusyMs);
    scenario.wishes.push_back({.kind = Wish::Kind::kSweep, .at_ms = at_ms});
    if (more.chance(0.2)) {
      scenario.wishes.push_back(
          {.kind = Wish::Kind::kCancelSweep, .at_ms = at_ms + more.between(1, 60'000)});
    }
  }
  return scenario;
}

std::string invariant_of(const Verdict& verdict) {
  return verdict.broken.substr(0, verdict.broken.find(':'));
}

Scenario shrink(Scenario scenario, const Verdict& verdict) {
  const std::string invariant = invariant_of(verdict);
  const auto still_fails = [&] { return invariant_of(run_scenario(scenario)) == invariant; };
  const auto try_value = [&](auto& member, auto simpler) {
    const auto before = member;
    member = simpler;
    if (!still_fails()) member = before;
  };
  try_value(scenario.loss, 0.0);
  try_value(scenario.repeat, 0.0);
  try_value(scenario.slowest_ms, int64_t{1});
  try_value(scenario.crowd, false);
  remove_what_can_go(scenario.disturbances, still_fails);
  remove_what_can_go(scenario.wishes, still_fails);
  remove_what_can_go(scenario.disturbances, still_fails);
  return scenario;
}

}  // namespace tunefleet::simulate

#include "coordinator/scheduler/preemption.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "coordinator/scheduler/planner.h"
#include "tests/coordinator/scheduler/plan_text.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr int64_t kMinute = 60'000;
constexpr int64_t kNow = 1'000 * kMinute;

RunningJob runs(std::string id, std::string host, int64_t ranks, int64_t ran_minutes,
                int64_t priority = 0) {
  return {.id = std::move(id),
          .priority = priority,
          .min_workers = ranks,
          .max_workers = ranks,
          .placement = {{std::move(host), ranks}},
          .started_at_ms = kNow - ran_minutes * kMinute};
}

/// A full agent of 6 slots, and an urgent job of `workers`.
PlanInput urgent(int64_t workers, std::vector<RunningJob> running) {
  return {.now_ms = kNow,
          .agents = {{.host = "a", .slots = 6, .free_slots = 0}},
          .waiting = {{.id = "urgent",
                       .min_workers = workers,
                       .max_workers = workers,
                       .priority = 5,
                       .submitted_at_ms = kNow}},
          .running = std::move(running)};
}

TEST(Preemption, StopsWhoeverLosesTheLeast) {
  const auto result = plan(
      urgent(2, {runs("long", "a", 2, 90), runs("short", "a", 2, 5), runs("mid", "a", 2, 30)}));
  EXPECT_THAT(stops_of(result), ElementsAre("short for urgent"));
  EXPECT_EQ(result.stops[0].reason,
            "stopped with a checkpoint to make room for urgent: priority 5 over 0");
  EXPECT_THAT(waits_of(result),
              ElementsAre("1 urgent: waiting for 2 slots (0 free of 6, 2 being freed)"));
  EXPECT_EQ(result.waits[0].estimated_start_ms, kNow + PlanPolicy{}.stop_takes_ms);
}

TEST(Preemption, StopsNobodyBeyondNeed) {
  const auto result =
      plan(urgent(3, {runs("x", "a", 1, 10), runs("y", "a", 2, 20), runs("z", "a", 3, 30)}));
  EXPECT_THAT(stops_of(result), UnorderedElementsAre("x for urgent", "y for urgent"));
}

TEST(Preemption, OfEqualLossesTheFewestJobs) {
  const auto result =
      plan(urgent(2, {runs("x", "a", 1, 10), runs("y", "a", 1, 10), runs("z", "a", 2, 10)}));
  EXPECT_THAT(stops_of(result), ElementsAre("z for urgent"));
}

TEST(Preemption, StopsNobodyInVain) {
  auto input = urgent(4, {runs("x", "a", 2, 10), runs("equal", "a", 4, 10, 5)});
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Preemption, SparesTheUnstoppableTheFreshAndTheNearlyAsUrgent) {
  auto input =
      urgent(2, {runs("fixed", "a", 2, 10), runs("fresh", "a", 2, 0), runs("near", "a", 2, 10, 4)});
  input.running[0].preemptible = false;
  input.policy.preemption_margin = 2;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
  input.policy.preemption_margin = 1;
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("near for urgent"));
  input.policy.preemption = false;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Preemption, AgeingGivesNoRightToStopOthers) {
  auto input = urgent(2, {runs("x", "a", 6, 10, 5)});
  input.waiting[0].submitted_at_ms = 1;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Preemption, WaitsForWhatIsStoppingAlready) {
  auto input = urgent(2, {runs("x", "a", 2, 10), runs("y", "a", 2, 20), runs("z", "a", 2, 30)});
  input.running[2].stopping = true;
  const auto result = plan(input);
  EXPECT_THAT(stops_of(result), IsEmpty());
  EXPECT_THAT(waits_of(result),
              ElementsAre("1 urgent: waiting for 2 slots (0 free of 6, 2 being freed)"));
}

TEST(Preemption, AddsToWhatIsStoppingOnlyWhatIsMissing) {
  auto input = urgent(3, {runs("x", "a", 2, 10), runs("y", "a", 1, 20), runs("z", "a", 2, 30),
                          runs("w", "a", 1, 5)});
  input.running[2].stopping = true;
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("w for urgent"));
}

TEST(Preemption, WaitsForWhatEndsAsSoonAnyway) {
  auto input = urgent(2, {runs("x", "a", 4, 10), runs("y", "a", 2, 20)});
  input.running[1].expected_end_ms = kNow + input.policy.stop_takes_ms;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Preemption, ClearsTheAgentThatLosesTheLeastWhereGangsMayNotSpan) {
  auto input = urgent(4, {runs("x", "a", 3, 30), runs("y", "a", 3, 30), runs("z", "b", 4, 40)});
  input.agents.push_back({.host = "b", .slots = 4, .free_slots = 0});
  input.policy.span_agents = false;
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("z for urgent"));
}

TEST(Preemption, IgnoresHostsTheJobMayNotUse) {
  auto input = urgent(2, {runs("x", "a", 6, 2), runs("z", "b", 4, 40)});
  input.agents.push_back({.host = "b", .slots = 4, .free_slots = 0});
  input.waiting[0].excluded_hosts = {"a"};
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("z for urgent"));
}

/// The least (lost time, jobs) by which any subset gives `slots`; none: (-1, 0).
std::pair<int64_t, int64_t> least_cost(int64_t slots, const std::vector<Giver>& givers) {
  std::pair<int64_t, int64_t> least{-1, 0};
  for (uint32_t subset = 0; subset < (1U << givers.size()); ++subset) {
    int64_t given = 0;
    std::pair<int64_t, int64_t> cost{0, 0};
    for (size_t i = 0; i < givers.size(); ++i) {
      if ((subset >> i & 1U) == 0) continue;
      given += givers[i].slots;
      cost.first += givers[i].lost_ms;
      ++cost.second;
    }
    if (given >= slots && (least.first < 0 || cost < least)) least = cost;
  }
  return least;
}

std::vector<Giver> any_givers(int count) {
  std::vector<Giver> givers;
  for (int i = 0; i < count; ++i) {
    givers.push_back({.occupant = static_cast<size_t>(i),
                      .slots = *rc::gen::inRange<int64_t>(1, 6),
                      .lost_ms = *rc::gen::inRange<int64_t>(0, 8)});
  }
  return givers;
}

TEST(CheapestCover, IsTheBestOfAllSubsets) {
  ASSERT_TRUE(rc::check([] {
    const auto givers = any_givers(*rc::gen::inRange(0, 10));
    const int64_t slots = *rc::gen::inRange<int64_t>(1, 20);
    const auto least = least_cost(slots, givers);
    const auto cover = cheapest_cover(slots, givers);
    RC_ASSERT(cover.has_value() == (least.first >= 0));
    if (!cover) return;
    std::pair<int64_t, int64_t> cost{0, static_cast<int64_t>(cover->size())};
    int64_t given = 0;
    for (const auto& giver : *cover) {
      cost.first += giver.lost_ms;
      given += giver.slots;
    }
    RC_ASSERT(given >= slots);
    RC_ASSERT(cost == least);
  }));
}

TEST(CheapestCover, OfThousandsNobodyCouldBeLeftOut) {
  std::vector<Giver> givers;
  for (size_t i = 0; i < 8'000; ++i) {
    givers.push_back({.occupant = i,
                      .slots = static_cast<int64_t>(1 + i % 7),
                      .lost_ms = static_cast<int64_t>(i * 7'919 % 1'009)});
  }
  constexpr int64_t kSlots = 5'000;
  const auto cover = cheapest_cover(kSlots, givers);
  ASSERT_TRUE(cover.has_value());
  int64_t given = 0;
  for (const auto& giver : *cover) given += giver.slots;
  EXPECT_GE(given, kSlots);
  for (const auto& giver : *cover) EXPECT_LT(given - giver.slots, kSlots);
}

}  // namespace
}  // namespace tunefleet::coordinator

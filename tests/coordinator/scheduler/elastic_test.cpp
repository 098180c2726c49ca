#include "coordinator/scheduler/elastic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/scheduler/planner.h"
#include "tests/coordinator/scheduler/plan_text.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr int64_t kMinute = 60'000;
constexpr int64_t kNow = 1'000 * kMinute;

RunningJob elastic_run(std::string id, std::string host, int64_t ranks, int64_t min_workers,
                       int64_t max_workers) {
  return {.id = std::move(id),
          .min_workers = min_workers,
          .max_workers = max_workers,
          .placement = {{std::move(host), ranks}},
          .started_at_ms = kNow - 60 * kMinute};
}

PlanInput fleet_of(int64_t slots, int64_t free_slots, std::vector<RunningJob> running) {
  return {.now_ms = kNow,
          .agents = {{.host = "a", .slots = slots, .free_slots = free_slots}},
          .running = std::move(running)};
}

WaitingJob waits(std::string id, int64_t workers, int64_t priority = 0) {
  return {.id = std::move(id),
          .min_workers = workers,
          .max_workers = workers,
          .priority = priority,
          .submitted_at_ms = kNow};
}

TEST(Shrink, GivesAWaitingJobWhatItNeedsAndNoMore) {
  auto input = fleet_of(9, 1, {elastic_run("e", "a", 8, 2, 8)});
  input.waiting = {waits("x", 4)};
  const auto result = plan(input);
  EXPECT_THAT(stops_of(result), ElementsAre("e to 5 for x"));
  EXPECT_EQ(result.stops[0].reason,
            "goes on from a checkpoint with 5 ranks instead of 8, to make room for x");
  EXPECT_THAT(waits_of(result),
              ElementsAre("1 x: waiting for 4 slots (1 free of 9, 3 being freed)"));
}

TEST(Shrink, TakesFromTheFewest) {
  auto input = fleet_of(12, 0, {elastic_run("e", "a", 4, 2, 8), elastic_run("f", "a", 8, 2, 8)});
  input.waiting = {waits("x", 5)};
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("f to 3 for x"));
}

TEST(Shrink, ComesBeforePreemption) {
  auto input = fleet_of(8, 0, {elastic_run("e", "a", 6, 2, 8), elastic_run("fixed", "a", 2, 2, 2)});
  input.waiting = {waits("x", 4, 7)};
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("e to 2 for x"));
  input.waiting = {waits("x", 5, 7)};
  EXPECT_THAT(stops_of(plan(input)), UnorderedElementsAre("e to 3 for x", "fixed for x"));
}

TEST(Shrink, StopsAnElasticJobAsAWholeWhenThatIsNeeded) {
  auto input = fleet_of(8, 0, {elastic_run("e", "a", 8, 2, 8)});
  input.waiting = {waits("x", 7, 7)};
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("e for x"));
}

TEST(Shrink, SparesTheMoreUrgentTheFreshAndTheSmallest) {
  auto input = fleet_of(8, 0,
                        {elastic_run("e", "a", 4, 2, 8), elastic_run("f", "a", 2, 2, 8),
                         elastic_run("g", "a", 2, 1, 2)});
  input.waiting = {waits("x", 1)};
  input.running[0].priority = 1;
  input.running[2].started_at_ms = kNow - 1;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Shrink, LeavesTheShrunkenJobAPlaceToReturnTo) {
  auto input = fleet_of(10, 2, {elastic_run("e", "a", 8, 2, 8)});
  input.waiting = {waits("x", 4), waits("y", 2)};
  const auto result = plan(input);
  EXPECT_THAT(stops_of(result), ElementsAre("e to 6 for x"));
  EXPECT_THAT(starts_of(result), IsEmpty()) << "y would take what e needs to go on";
}

TEST(Grow, TakesFreeSlotsWhenNothingWaits) {
  auto input = fleet_of(8, 5, {elastic_run("e", "a", 3, 2, 6)});
  const auto result = plan(input);
  EXPECT_THAT(stops_of(result), ElementsAre("e to 6"));
  EXPECT_EQ(result.stops[0].reason,
            "goes on from a checkpoint with 6 ranks instead of 3: slots are free");
}

TEST(Grow, OneAtATimeAndWhoeverGainsTheMost) {
  auto input = fleet_of(12, 4, {elastic_run("e", "a", 4, 2, 6), elastic_run("f", "a", 4, 2, 8)});
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("f to 8"));
  input.running[0].stopping = true;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Grow, NotSoonAfterAStartNorPastTheQuotaNorWhileAnybodyWaits) {
  auto input = fleet_of(8, 5, {elastic_run("e", "a", 3, 2, 6)});
  input.running[0].tenant = "acme";
  input.tenants = {{.tenant = "acme", .max_slots = 4}};
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("e to 4"));
  input.running[0].started_at_ms = kNow - input.policy.grow_after_ms + 1;
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
  input.running[0].started_at_ms = 0;
  input.waiting = {waits("x", 1)};
  EXPECT_THAT(stops_of(plan(input)), IsEmpty());
}

TEST(Grow, OnItsOwnAgentWhereGangsMayNotSpan) {
  auto input = fleet_of(8, 1, {elastic_run("e", "a", 3, 2, 8)});
  input.agents.push_back({.host = "b", .slots = 3, .free_slots = 3});
  input.policy.span_agents = false;
  EXPECT_THAT(stops_of(plan(input)), ElementsAre("e to 4"));
}

}  // namespace
}  // namespace tunefleet::coordinator

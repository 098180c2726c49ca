#include "coordinator/scheduler/backfill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/scheduler/planner.h"
#include "tests/coordinator/scheduler/plan_text.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kNow = 1'000'000;
constexpr int64_t kMinute = 60'000;

RunningJob runs_on(std::string id, std::string host, int64_t ranks, int64_t left_ms) {
  return {.id = std::move(id),
          .min_workers = ranks,
          .max_workers = ranks,
          .placement = {{std::move(host), ranks}},
          .started_at_ms = kNow - kMinute,
          .expected_end_ms = left_ms == 0 ? 0 : kNow + left_ms};
}

WaitingJob waits(std::string id, int64_t workers, int64_t expected_ms = 0) {
  return {.id = std::move(id),
          .min_workers = workers,
          .max_workers = workers,
          .submitted_at_ms = kNow,
          .expected_ms = expected_ms};
}

/// Agent a has 2 of 4 slots free, the others come free in 10 minutes; b is full for good.
PlanInput half_free(std::vector<WaitingJob> waiting) {
  return {.now_ms = kNow,
          .agents = {{.host = "a", .slots = 4, .free_slots = 2},
                     {.host = "b", .slots = 2, .free_slots = 0}},
          .waiting = std::move(waiting),
          .running = {runs_on("r", "a", 2, 10 * kMinute), runs_on("s", "b", 2, 0)}};
}

TEST(Backfill, StartsWhatEndsBeforeTheHeadStarts) {
  const auto result = plan(half_free({waits("head", 4), waits("short", 2, 10 * kMinute)}));
  EXPECT_THAT(starts_of(result), ElementsAre("short on a:2"));
  ASSERT_EQ(result.waits.size(), 1U);
  EXPECT_EQ(result.waits[0].estimated_start_ms, kNow + 10 * kMinute);
}

TEST(Backfill, HoldsBackWhatEndsLaterOrNobodyKnowsWhen) {
  const auto result =
      plan(half_free({waits("head", 4), waits("long", 1, 10 * kMinute + 1), waits("open", 1)}));
  EXPECT_THAT(starts_of(result), IsEmpty());
  EXPECT_THAT(waits_of(result), ElementsAre("1 head: waiting for 4 slots (2 free of 6)",
                                            "2 long: waiting behind head, which is wider",
                                            "3 open: waiting behind head, which is wider"));
}

TEST(Backfill, UsesTheSlotsTheHeadWillNotNeed) {
  const auto result = plan(half_free({waits("head", 3), waits("long", 1), waits("longer", 1)}));
  EXPECT_THAT(starts_of(result), ElementsAre("long on a:1"));
}

TEST(Backfill, UsesHostsTheHeadMayNot) {
  auto input = half_free({waits("head", 2), waits("long", 2)});
  input.waiting[0].excluded_hosts = {"a"};
  EXPECT_THAT(starts_of(plan(input)), ElementsAre("long on a:2"));
}

TEST(Backfill, WithoutKnownEndsNothingOfTheHeadsIsTaken) {
  auto input = half_free({waits("head", 4), waits("short", 1, 1)});
  input.running[0].expected_end_ms = 0;
  const auto result = plan(input);
  EXPECT_THAT(starts_of(result), IsEmpty());
  EXPECT_EQ(result.waits[0].estimated_start_ms, 0);
}

TEST(Backfill, AnOverdueJobMayEndAnyMoment) {
  auto input = half_free({waits("head", 4), waits("short", 1, 1)});
  input.running[0].expected_end_ms = kNow - kMinute;
  EXPECT_THAT(starts_of(plan(input)), IsEmpty());
}

TEST(Backfill, LeavesTheHeadItsTenantsQuota) {
  auto input = half_free({waits("head", 3), waits("own", 1)});
  input.waiting[0].tenant = input.waiting[1].tenant = "acme";
  input.tenants = {{.tenant = "acme", .max_slots = 3}};
  EXPECT_THAT(starts_of(plan(input)), IsEmpty());
  input.tenants[0].max_slots = 4;
  EXPECT_THAT(starts_of(plan(input)), ElementsAre("own on a:1"));
}

TEST(Backfill, WidensElasticJobsOnSpareSlotsOnly) {
  auto input = half_free({waits("first", 1), waits("head", 3)});
  input.agents[0] = {.host = "a", .slots = 6, .free_slots = 3};
  input.running[0] = runs_on("r", "a", 3, 10 * kMinute);
  input.waiting[0].max_workers = 4;
  input.waiting[1].min_workers = input.waiting[1].max_workers = 4;
  EXPECT_THAT(starts_of(plan(input)), ElementsAre("first on a:2"));
}

TEST(Backfill, KeepsOneAgentForAGangThatMayNotSpan) {
  auto input = half_free({waits("head", 4), waits("open", 1), waits("more", 2)});
  input.policy.span_agents = false;
  input.agents[1] = {.host = "b", .slots = 4, .free_slots = 1};
  EXPECT_THAT(starts_of(plan(input)), ElementsAre("open on b:1"));
}

TEST(Estimate, CountsJobsInTheirOrder) {
  auto input = half_free(
      {waits("head", 4, 5 * kMinute), waits("next", 4, kMinute), waits("last", 6, kMinute)});
  const auto result = plan(input);
  ASSERT_EQ(result.waits.size(), 3U);
  EXPECT_EQ(result.waits[0].estimated_start_ms, kNow + 10 * kMinute);
  EXPECT_EQ(result.waits[1].estimated_start_ms, kNow + 15 * kMinute);
  EXPECT_EQ(result.waits[2].estimated_start_ms, 0) << "b never comes free";
}

TEST(Estimate, OfAJobInItsPauseIsThePausesEnd) {
  auto input = half_free({waits("x", 1)});
  input.waiting[0].not_before_ms = kNow + kMinute;
  EXPECT_EQ(plan(input).waits.at(0).estimated_start_ms, kNow + kMinute);
}

}  // namespace
}  // namespace tunefleet::coordinator

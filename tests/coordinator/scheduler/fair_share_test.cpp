#include "coordinator/scheduler/fair_share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/scheduler/planner.h"
#include "tests/coordinator/scheduler/plan_text.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kNow = 1'000 * kHour;

WaitingJob job_of(std::string tenant, std::string id, int64_t workers = 1) {
  return {.id = std::move(id),
          .tenant = std::move(tenant),
          .min_workers = workers,
          .max_workers = workers,
          .submitted_at_ms = kNow};
}

RunningJob running_for(std::string tenant, int64_t ranks) {
  return {.id = tenant + "-runs",
          .tenant = std::move(tenant),
          .min_workers = ranks,
          .max_workers = ranks,
          .placement = {{"a", ranks}},
          .started_at_ms = kNow};
}

PlanInput input_of(int64_t slots, std::vector<WaitingJob> waiting) {
  return {.now_ms = kNow,
          .agents = {{.host = "a", .slots = slots, .free_slots = slots}},
          .waiting = std::move(waiting)};
}

/// The order of all jobs, each claiming its slots as it comes.
std::vector<std::string> order_of(const PlanInput& input) {
  TenantLedger ledger(input);
  FairOrder order(input, ledger);
  std::vector<std::string> ids;
  while (const auto next = order.next()) {
    const WaitingJob& job = input.waiting[next->job];
    ids.push_back(job.id);
    ledger.claim(next->tenant, job.min_workers);
  }
  return ids;
}

TEST(FairOrder, TenantsTakeTurnsByTheSlotsTheyGet) {
  const auto input = input_of(8, {job_of("x", "x1", 2), job_of("x", "x2"), job_of("x", "x3"),
                                  job_of("y", "y1"), job_of("y", "y2"), job_of("y", "y3")});
  EXPECT_THAT(order_of(input), ElementsAre("x1", "y1", "y2", "x2", "y3", "x3"));
}

TEST(FairOrder, AWeightOfTwoGetsTwoTurns) {
  auto input = input_of(8, {job_of("x", "x1"), job_of("x", "x2"), job_of("y", "y1"),
                            job_of("y", "y2"), job_of("y", "y3"), job_of("y", "y4")});
  input.tenants = {{.tenant = "y", .weight = 2.0}};
  EXPECT_THAT(order_of(input), ElementsAre("x1", "y1", "y2", "x2", "y3", "y4"));
}

TEST(FairOrder, WhoRunsOrRanMoreComesLater) {
  auto input = input_of(8, {job_of("x", "x1"), job_of("y", "y1"), job_of("z", "z1")});
  input.running = {running_for("x", 1)};
  input.tenants = {{.tenant = "y", .used_device_ms = 2.0 * kHour}};
  EXPECT_THAT(order_of(input), ElementsAre("z1", "x1", "y1"));
}

TEST(FairOrder, WaitingOvertakesPriorityAfterSomeHours) {
  auto input = input_of(8, {job_of("x", "fresh"), job_of("x", "old")});
  input.waiting[0].priority = 10;
  input.waiting[1].submitted_at_ms = kNow - 4 * kHour;
  EXPECT_THAT(order_of(input), ElementsAre("fresh", "old"));
  input.waiting[1].submitted_at_ms = kNow - 6 * kHour;
  EXPECT_THAT(order_of(input), ElementsAre("old", "fresh"));
}

TEST(FairOrder, TimeSpentRunningIsNotWaiting) {
  auto input = input_of(8, {job_of("x", "fresh"), job_of("x", "stopped")});
  input.waiting[0].priority = 1;
  input.waiting[1].submitted_at_ms = kNow - 100 * kHour;
  input.waiting[1].queued_at_ms = kNow;
  EXPECT_THAT(order_of(input), ElementsAre("fresh", "stopped"));
}

TEST(FairOrder, ALongQueueOfOneTenantDoesNotAgePastTheOthers) {
  auto input = input_of(8, {job_of("flood", "flood1"), job_of("y", "y1")});
  input.waiting[0].submitted_at_ms = kNow - 10 * kHour;
  input.running = {running_for("flood", 8)};
  EXPECT_THAT(order_of(input), ElementsAre("y1", "flood1"));
}

TEST(Quota, IsNotExceededAndHoldsBackNobodyElse) {
  auto input = input_of(8, {job_of("acme", "a1", 2), job_of("acme", "a2", 2),
                            job_of("acme", "a3", 2), job_of("other", "o1", 4)});
  input.waiting[3].submitted_at_ms += 1;
  input.tenants = {{.tenant = "acme", .max_slots = 4}};
  const auto result = plan(input);
  EXPECT_THAT(starts_of(result), ElementsAre("a1 on a:2", "o1 on a:4", "a2 on a:2"));
  EXPECT_THAT(waits_of(result), ElementsAre("1 a3: tenant acme has 4 of 4 slots in use"));
}

TEST(Quota, CountsStoppingJobsAndSaysWhatIsMissing) {
  auto input = input_of(8, {job_of("acme", "a1", 2), job_of("acme", "a2", 1)});
  input.running = {running_for("acme", 3)};
  input.running[0].stopping = true;
  input.agents[0].free_slots = 5;
  input.tenants = {{.tenant = "acme", .max_slots = 4}};
  const auto result = plan(input);
  EXPECT_THAT(starts_of(result), IsEmpty());
  EXPECT_THAT(waits_of(result),
              ElementsAre("1 a1: tenant acme has 3 of 4 slots in use, this needs 2",
                          "2 a2: waiting behind a1, which waits for slots of the same tenant"));
}

TEST(Quota, AJobWiderThanItIsSteppedOver) {
  auto input = input_of(8, {job_of("acme", "a1", 5), job_of("acme", "a2", 1)});
  input.tenants = {{.tenant = "acme", .max_slots = 4}};
  const auto result = plan(input);
  EXPECT_THAT(starts_of(result), ElementsAre("a2 on a:1"));
  EXPECT_THAT(waits_of(result), ElementsAre("1 a1: needs 5 slots, tenant acme may use 4 at once"));
}

TEST(Quota, LimitsTheWidthOfAnElasticJob) {
  auto input = input_of(8, {job_of("acme", "a1", 2)});
  input.waiting[0].max_workers = 8;
  input.tenants = {{.tenant = "acme", .max_slots = 5}};
  EXPECT_THAT(starts_of(plan(input)), ElementsAre("a1 on a:5"));
}

}  // namespace
}  // namespace tunefleet::coordinator

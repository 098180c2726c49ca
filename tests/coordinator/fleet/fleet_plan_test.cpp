#include "coordinator/fleet/fleet_plan.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;

JobRecord elastic(const std::string& id, JobPhase phase) {
  return {
      .id = id, .owner = "ann", .phase = phase, .workers = 4, .min_workers = 2, .max_workers = 4};
}

PlanInput input_of(const FleetState& state, const std::vector<JobRecord>& queued,
                   const std::vector<JobRecord>& running) {
  return plan_input_of(state, queued, running, {}, {}, kNow);
}

TEST(FleetPlan, AWaitingJobHasTheAgeOfItsNewestWaiting) {
  JobRecord preempted = elastic("again", JobPhase::kQueued);
  preempted.created_at_ms = kNow - 3'600'000;
  preempted.queued_at_ms = kNow - 5'000;
  const PlanInput input = input_of({}, {preempted}, {});
  ASSERT_EQ(input.waiting.size(), 1U);
  EXPECT_EQ(input.waiting[0].submitted_at_ms, kNow - 3'600'000);
  EXPECT_EQ(input.waiting[0].queued_at_ms, kNow - 5'000);
}

TEST(FleetPlan, AGangThatStopsToBeResizedKeepsThatManySlots) {
  JobRecord job = elastic("wide", JobPhase::kRunning);
  FleetState state;
  state.gangs["wide"].resize_to = 3;
  const auto resizing = [&] { return input_of(state, {}, {job}).running[0].resizing_to; };
  EXPECT_EQ(resizing(), 0);  // It was not asked to stop.
  job.stop = StopReason::kPreempt;
  EXPECT_EQ(resizing(), 0);
  job.stop = StopReason::kResize;
  EXPECT_EQ(resizing(), 3);
  state.gangs.clear();  // An earlier coordinator asked.
  EXPECT_EQ(resizing(), job.min_workers);
}

}  // namespace
}  // namespace tunefleet::coordinator

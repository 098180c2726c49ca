#include "coordinator/scheduler/start_preview.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

PlanInput one_agent_with(int64_t slots, int64_t free_slots) {
  return {.now_ms = 1'000'000, .agents = {{.host = "a", .slots = slots, .free_slots = free_slots}}};
}

WaitingJob job(const std::string& id, int64_t workers) {
  return {.id = id,
          .tenant = "t",
          .min_workers = workers,
          .max_workers = workers,
          .submitted_at_ms = 1'000'000};
}

TEST(StartPreview, TellsWhereItWouldStartAtOnce) {
  const auto preview = preview_start(one_agent_with(2, 2), job("new", 2));
  EXPECT_TRUE(preview.known);
  ASSERT_EQ(preview.placement.size(), 1U);
  EXPECT_EQ(preview.placement[0], (GangPart{"a", 2}));
  EXPECT_EQ(preview.position, 0);
}

TEST(StartPreview, TellsWhyItWouldWaitAndUntilWhen) {
  PlanInput input = one_agent_with(2, 0);
  input.running.push_back({.id = "busy",
                           .tenant = "t",
                           .placement = {{"a", 2}},
                           .started_at_ms = 900'000,
                           .expected_end_ms = 1'600'000});
  const auto preview = preview_start(input, job("new", 2));
  EXPECT_TRUE(preview.placement.empty());
  EXPECT_EQ(preview.position, 1);
  EXPECT_THAT(preview.reason, testing::HasSubstr("2 slots"));
  EXPECT_EQ(preview.estimated_start_ms, 1'600'000);
}

TEST(StartPreview, StandsBehindThoseWhoWaitAlready) {
  PlanInput input = one_agent_with(2, 0);
  input.running.push_back({.id = "busy", .tenant = "t", .placement = {{"a", 2}}});
  WaitingJob earlier = job("earlier", 1);
  earlier.submitted_at_ms = 900'000;
  input.waiting.push_back(earlier);
  EXPECT_EQ(preview_start(input, job("new", 1)).position, 2);
}

TEST(StartPreview, SaysWhenTheFleetIsTooSmall) {
  const auto preview = preview_start(one_agent_with(2, 2), job("new", 3));
  EXPECT_TRUE(preview.placement.empty());
  EXPECT_THAT(preview.reason, testing::HasSubstr("3 slots"));
}

}  // namespace
}  // namespace tunefleet::coordinator

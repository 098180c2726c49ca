#include "coordinator/scheduler/planner.h"

#include <gtest/gtest.h>

#include <ostream>

#include "tests/coordinator/scheduler/plan_text.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kNow = 1'000'000;

struct PlanCase {
  std::string name;
  PlanInput input;
  std::vector<std::string> starts;
  std::vector<std::string> waits;
};

std::ostream& operator<<(std::ostream& out, const PlanCase& c) { return out << c.name; }

class PlannerTest : public testing::TestWithParam<PlanCase> {};

TEST_P(PlannerTest, StartsAndExplains) {
  PlanInput input = GetParam().input;
  input.now_ms = kNow;
  const Plan result = plan(input);
  EXPECT_EQ(starts_of(result), GetParam().starts);
  EXPECT_EQ(waits_of(result), GetParam().waits);
  EXPECT_TRUE(result.stops.empty());
}

AgentSlots agent(std::string host, int64_t slots, int64_t free_slots) {
  return {.host = std::move(host), .slots = slots, .free_slots = free_slots};
}

WaitingJob fixed(std::string id, int64_t workers, int64_t priority = 0) {
  return {.id = std::move(id),
          .min_workers = workers,
          .max_workers = workers,
          .priority = priority,
          .submitted_at_ms = kNow};
}

WaitingJob elastic(std::string id, int64_t min_workers, int64_t max_workers) {
  WaitingJob job = fixed(std::move(id), min_workers);
  job.max_workers = max_workers;
  return job;
}

WaitingJob not_on(WaitingJob job, std::vector<std::string> hosts) {
  job.excluded_hosts = std::move(hosts);
  return job;
}

WaitingJob paused(WaitingJob job, int64_t left_ms) {
  job.not_before_ms = kNow + left_ms;
  return job;
}

INSTANTIATE_TEST_SUITE_P(
    Places, PlannerTest,
    testing::Values(
        PlanCase{"NothingToDo", {.agents = {agent("a", 2, 2)}}, {}, {}},
        PlanCase{"OneFits",
                 {.agents = {agent("a", 2, 2)}, .waiting = {fixed("x", 2)}},
                 {"x on a:2"},
                 {}},
        PlanCase{"TheFullestAgentThatHoldsIt",
                 {.agents = {agent("a", 2, 2), agent("b", 2, 1)},
                  .waiting = {fixed("x", 1), fixed("y", 2)}},
                 {"x on b:1", "y on a:2"},
                 {}},
        PlanCase{"TheFirstByNameAmongEquals",
                 {.agents = {agent("z", 1, 1), agent("y", 1, 1)}, .waiting = {fixed("x", 1)}},
                 {"x on y:1"},
                 {}},
        PlanCase{"TheFewestAgentsWhenNoneHoldsIt",
                 {.agents = {agent("a", 1, 1), agent("b", 4, 3), agent("c", 4, 2)},
                  .waiting = {fixed("x", 5)}},
                 {"x on b:3 c:2"},
                 {}},
        PlanCase{"TheRestGoesWhereItFitsBest",
                 {.agents = {agent("a", 4, 4), agent("b", 4, 3), agent("c", 4, 1)},
                  .waiting = {fixed("x", 5)}},
                 {"x on a:4 c:1"},
                 {}},
        PlanCase{"NotOnAnExcludedHost",
                 {.agents = {agent("a", 2, 2), agent("b", 4, 4)},
                  .waiting = {not_on(fixed("x", 2), {"a", "gone"})}},
                 {"x on b:2"},
                 {}},
        PlanCase{"OneAgentWhereGangsMayNotSpan",
                 {.agents = {agent("a", 2, 1), agent("b", 3, 2), agent("c", 4, 4)},
                  .waiting = {fixed("x", 3)},
                  .policy = {.span_agents = false}},
                 {"x on c:3"},
                 {}},
        PlanCase{"ElasticAsWideAsFits",
                 {.agents = {agent("a", 4, 3), agent("b", 4, 2)}, .waiting = {elastic("x", 2, 8)}},
                 {"x on a:3 b:2"},
                 {}},
        PlanCase{"ElasticNotWiderThanItMayBe",
                 {.agents = {agent("a", 8, 8)}, .waiting = {elastic("x", 2, 6)}},
                 {"x on a:6"},
                 {}},
        PlanCase{"ElasticLeavesRoomForWhoeverIsBehind",
                 {.agents = {agent("a", 8, 8)}, .waiting = {elastic("x", 2, 8), fixed("y", 4)}},
                 {"x on a:4", "y on a:4"},
                 {}},
        PlanCase{"ElasticOnOneAgentWhereItIsWidest",
                 {.agents = {agent("a", 2, 2), agent("b", 8, 6)},
                  .waiting = {elastic("x", 2, 8)},
                  .policy = {.span_agents = false}},
                 {"x on b:6"},
                 {}}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Reasons, PlannerTest,
    testing::Values(
        PlanCase{"NoAgent", {.waiting = {fixed("x", 1)}}, {}, {"1 x: no agent is connected"}},
        PlanCase{"SlotsTaken",
                 {.agents = {agent("b", 2, 1)}, .waiting = {fixed("x", 2)}},
                 {},
                 {"1 x: waiting for 2 slots (1 free of 2)"}},
        PlanCase{"SlotsTakenForAnElasticJob",
                 {.agents = {agent("b", 2, 1)}, .waiting = {elastic("x", 2, 4)}},
                 {},
                 {"1 x: waiting for at least 2 slots (1 free of 2)"}},
        PlanCase{"NoneOnOneAgent",
                 {.agents = {agent("b", 2, 1), agent("c", 3, 1)},
                  .waiting = {fixed("x", 2)},
                  .policy = {.span_agents = false}},
                 {},
                 {"1 x: waiting for 2 slots on one agent (1 free at most, on 2 agents)"}},
        PlanCase{"SlotsOfTheAgentsItMayUse",
                 {.agents = {agent("a", 2, 2), agent("b", 2, 1)},
                  .waiting = {not_on(fixed("x", 2), {"a"})}},
                 {},
                 {"1 x: waiting for 2 slots (1 free of 2 on the agents it may use)"}},
        PlanCase{"BehindTheHead",
                 {.agents = {agent("b", 2, 1)},
                  .waiting = {fixed("wide", 2), fixed("narrow", 1), fixed("same", 2)}},
                 {},
                 {"1 wide: waiting for 2 slots (1 free of 2)",
                  "2 narrow: waiting behind wide, which is wider", "3 same: waiting behind wide"}},
        PlanCase{"TooWideIsSteppedOver",
                 {.agents = {agent("a", 2, 2), agent("b", 2, 2)},
                  .waiting = {fixed("wide", 8), fixed("narrow", 1)}},
                 {"narrow on a:1"},
                 {"1 wide: needs 8 slots, the fleet has 4"}},
        PlanCase{"TooWideForOneAgent",
                 {.agents = {agent("a", 2, 2), agent("b", 1, 1)},
                  .waiting = {fixed("wide", 3), fixed("narrow", 1)},
                  .policy = {.span_agents = false}},
                 {"narrow on b:1"},
                 {"1 wide: needs 3 slots, the largest agent has 2"}},
        PlanCase{"TooWideForTheAgentsItMayUse",
                 {.agents = {agent("a", 2, 2), agent("b", 1, 1)},
                  .waiting = {not_on(fixed("x", 2), {"a"})}},
                 {},
                 {"1 x: needs 2 slots, the agents it may use have 1"}},
        PlanCase{"InItsPause",
                 {.agents = {agent("a", 1, 1)},
                  .waiting = {paused(fixed("x", 1), 11'200), fixed("y", 1)}},
                 {"y on a:1"},
                 {"1 x: to be tried again in 12 s after an infrastructure failure"}},
        PlanCase{"InALongPause",
                 {.agents = {agent("a", 1, 1)}, .waiting = {paused(fixed("x", 1), 170'000)}},
                 {},
                 {"1 x: to be tried again in 3 min after an infrastructure failure"}}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Order, PlannerTest,
    testing::Values(
        PlanCase{"PriorityThenAge",
                 {.agents = {agent("a", 1, 1)},
                  .waiting = {fixed("old", 1), fixed("urgent", 1, 3), fixed("young", 1)}},
                 {"urgent on a:1"},
                 {"1 old: waiting for 1 slot (0 free of 1)", "2 young: waiting behind old"}},
        PlanCase{"OlderSubmissionFirstWhateverTheOrderOfTheInput",
                 {.agents = {agent("a", 1, 1)},
                  .waiting = {fixed("young", 1), {.id = "old", .submitted_at_ms = kNow - 1}}},
                 {"old on a:1"},
                 {"1 young: waiting for 1 slot (0 free of 1)"}}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tunefleet::coordinator

#include "coordinator/scheduler/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

namespace tunefleet::coordinator {
namespace {

struct PlanCase {
  std::string name;
  PlanInput input;
  std::vector<std::string> starts;  ///< "job on host"
  std::vector<std::string> waits;   ///< "position job: reason"
};

std::ostream& operator<<(std::ostream& out, const PlanCase& c) { return out << c.name; }

class PlannerTest : public testing::TestWithParam<PlanCase> {};

TEST_P(PlannerTest, StartsAndExplains) {
  const Plan result = plan(GetParam().input);
  std::vector<std::string> starts;
  for (const auto& start : result.starts) starts.push_back(start.job + " on " + start.host);
  std::vector<std::string> waits;
  for (const auto& wait : result.waits) {
    waits.push_back(std::to_string(wait.position) + " " + wait.job + ": " + wait.reason);
  }
  EXPECT_EQ(starts, GetParam().starts);
  EXPECT_EQ(waits, GetParam().waits);
}

const AgentSlots kTwoFree{.host = "a", .slots = 2, .free_slots = 2};
const AgentSlots kOneFree{.host = "b", .slots = 2, .free_slots = 1};

INSTANTIATE_TEST_SUITE_P(
    Table, PlannerTest,
    testing::Values(
        PlanCase{"NothingToDo", {.agents = {kTwoFree}}, {}, {}},
        PlanCase{"NoAgent", {.waiting = {{.id = "x"}}}, {}, {"1 x: no agent is connected"}},
        PlanCase{"OneFits",
                 {.agents = {kTwoFree}, .waiting = {{.id = "x", .workers = 2}}},
                 {"x on a"},
                 {}},
        PlanCase{"AllOrNone",
                 {.agents = {kOneFree}, .waiting = {{.id = "x", .workers = 2}}},
                 {},
                 {"1 x: waiting for 2 slots (1 free of 2)"}},
        PlanCase{"NotSpreadOverAgents",
                 {.agents = {kOneFree, {.host = "c", .slots = 3, .free_slots = 1}},
                  .waiting = {{.id = "x", .workers = 2}}},
                 {},
                 {"1 x: waiting for 2 slots on one agent (1 free at most, on 2 agents)"}},
        PlanCase{"NothingOvertakesTheHead",
                 {.agents = {kOneFree},
                  .waiting = {{.id = "wide", .workers = 2}, {.id = "narrow", .workers = 1}}},
                 {},
                 {"1 wide: waiting for 2 slots (1 free of 2)", "2 narrow: waiting behind wide"}},
        PlanCase{"TooWideForEveryAgentIsSteppedOver",
                 {.agents = {kTwoFree},
                  .waiting = {{.id = "wide", .workers = 4}, {.id = "narrow", .workers = 1}}},
                 {"narrow on a"},
                 {"1 wide: needs 4 slots, the largest agent has 2"}},
        PlanCase{"PriorityThenAge",
                 {.agents = {{.host = "a", .slots = 1, .free_slots = 1}},
                  .waiting = {{.id = "old"}, {.id = "urgent", .priority = 3}, {.id = "young"}}},
                 {"urgent on a"},
                 {"1 old: waiting for 1 slot (0 free of 1)", "2 young: waiting behind old"}},
        PlanCase{
            "BestFit",
            {.agents = {kTwoFree, kOneFree}, .waiting = {{.id = "x"}, {.id = "y", .workers = 2}}},
            {"x on b", "y on a"},
            {}},
        PlanCase{"EqualFitByName",
                 {.agents = {{.host = "z", .slots = 1, .free_slots = 1},
                             {.host = "y", .slots = 1, .free_slots = 1}},
                  .waiting = {{.id = "x"}}},
                 {"x on y"},
                 {}}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tunefleet::coordinator

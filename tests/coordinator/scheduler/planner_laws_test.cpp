#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>

#include "coordinator/scheduler/planner.h"

namespace tunefleet::coordinator {
namespace {

/// Fleets of up to 5 agents with up to 8 slots, up to 12 jobs of up to 9 ranks.
PlanInput any_input() {
  PlanInput input;
  const int agents = *rc::gen::inRange(0, 6);
  for (int i = 0; i < agents; ++i) {
    const int64_t slots = *rc::gen::inRange(0, 9);
    input.agents.push_back({.host = "host-" + std::to_string(i),
                            .slots = slots,
                            .free_slots = *rc::gen::inRange<int64_t>(0, slots + 1)});
  }
  const int jobs = *rc::gen::inRange(0, 13);
  for (int i = 0; i < jobs; ++i) {
    input.waiting.push_back({.id = "job-" + std::to_string(i),
                             .workers = *rc::gen::inRange(1, 10),
                             .priority = *rc::gen::inRange(-2, 3)});
  }
  return input;
}

const WaitingJob& job_of(const PlanInput& input, const std::string& id) {
  return *std::ranges::find(input.waiting, id, &WaitingJob::id);
}

TEST(PlannerLaws, NoSlotIsGivenTwice) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    std::map<std::string, int64_t> taken;
    for (const auto& start : plan(input).starts) {
      taken[start.host] += job_of(input, start.job).workers;
    }
    for (const auto& [host, count] : taken) {
      RC_ASSERT(count <= std::ranges::find(input.agents, host, &AgentSlots::host)->free_slots);
    }
  }));
}

TEST(PlannerLaws, EveryJobStartsOrWaitsExactlyOnceWithItsReason) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    const Plan result = plan(input);
    std::set<std::string> seen;
    for (const auto& start : result.starts) RC_ASSERT(seen.insert(start.job).second);
    for (size_t i = 0; i < result.waits.size(); ++i) {
      RC_ASSERT(seen.insert(result.waits[i].job).second);
      RC_ASSERT(result.waits[i].position == static_cast<int64_t>(i) + 1);
      RC_ASSERT(!result.waits[i].reason.empty());
    }
    RC_ASSERT(seen.size() == input.waiting.size());
  }));
}

TEST(PlannerLaws, NoJobThatCanRunIsOvertaken) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    const Plan result = plan(input);
    int64_t widest = 0;
    for (const auto& agent : input.agents) widest = std::max(widest, agent.slots);
    const auto index_of = [&input](const std::string& id) {
      return std::ranges::find(input.waiting, id, &WaitingJob::id) - input.waiting.begin();
    };
    for (const auto& start : result.starts) {
      for (const auto& wait : result.waits) {
        const auto& waiting = job_of(input, wait.job);
        const auto& started = job_of(input, start.job);
        const bool before =
            waiting.priority > started.priority ||
            (waiting.priority == started.priority && index_of(waiting.id) < index_of(started.id));
        RC_ASSERT(!before || waiting.workers > widest);
      }
    }
  }));
}

TEST(PlannerLaws, SlotsAreNotLeftIdleBeforeAJobThatFits) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    const Plan result = plan(input);
    if (!result.starts.empty() || result.waits.empty()) return;
    int64_t widest = 0;
    int64_t most_free = 0;
    for (const auto& agent : input.agents) {
      widest = std::max(widest, agent.slots);
      most_free = std::max(most_free, agent.free_slots);
    }
    for (const auto& wait : result.waits) {
      const int64_t workers = job_of(input, wait.job).workers;
      if (workers > widest) continue;
      RC_ASSERT(workers > most_free);
      return;  // Behind the head others may fit: order is strict.
    }
  }));
}

}  // namespace
}  // namespace tunefleet::coordinator

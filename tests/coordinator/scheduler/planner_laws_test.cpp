#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>

#include "coordinator/scheduler/planner.h"
#include "tests/coordinator/scheduler/any_fleet.h"
#include "tests/coordinator/scheduler/plan_text.h"

namespace tunefleet::coordinator {
namespace {

TEST(PlannerLaws, NoSlotIsGivenTwice) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    std::map<std::string, int64_t> taken;
    for (const auto& start : plan(input).starts) {
      for (const auto& part : start.placement) taken[part.host] += part.ranks;
    }
    for (const auto& [host, count] : taken) {
      RC_ASSERT(count <= std::ranges::find(input.agents, host, &AgentSlots::host)->free_slots);
    }
  }));
}

TEST(PlannerLaws, AGangStartsWholeWithinItsWidthsOnHostsItMayUse) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    for (const auto& start : plan(input).starts) {
      const WaitingJob& job = job_of(input.waiting, start.job);
      const int64_t width = width_of(start.placement);
      RC_ASSERT(width >= job.min_workers);
      RC_ASSERT(width <= job.max_workers);
      RC_ASSERT(job.not_before_ms <= input.now_ms);
      RC_ASSERT(input.policy.span_agents || start.placement.size() == 1U);
      std::set<std::string> hosts;
      for (const auto& part : start.placement) {
        RC_ASSERT(part.ranks > 0);
        RC_ASSERT(hosts.insert(part.host).second);
        RC_ASSERT(std::ranges::count(job.excluded_hosts, part.host) == 0);
      }
    }
  }));
}

TEST(PlannerLaws, NoTenantPassesItsQuotaByAStart) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    std::map<std::string, int64_t> used;
    for (const auto& job : input.running) used[job.tenant] += width_of(job.placement);
    std::set<std::string> started;
    for (const auto& start : plan(input).starts) {
      const auto& tenant = job_of(input.waiting, start.job).tenant;
      used[tenant] += width_of(start.placement);
      started.insert(tenant);
    }
    for (const auto& policy : input.tenants) {
      if (policy.max_slots == 0 || !started.contains(policy.tenant)) continue;
      RC_ASSERT(used[policy.tenant] <= policy.max_slots);
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
      RC_ASSERT(!result.reasons.at(result.waits[i].reason).empty());
      const int64_t estimate = result.waits[i].estimated_start_ms;
      RC_ASSERT(estimate == 0 || estimate > input.now_ms);
    }
    RC_ASSERT(seen.size() == input.waiting.size());
  }));
}

TEST(PlannerLaws, SameInputSamePlanInAnyOrderOfTheAgents) {
  ASSERT_TRUE(rc::check([] {
    PlanInput input = any_input();
    const Plan first = plan(input);
    const Plan second = plan(input);
    std::ranges::reverse(input.agents);
    if (input.agents.size() > 2) std::swap(input.agents[0], input.agents[1]);
    const Plan shuffled = plan(input);
    for (const Plan* other : {&second, &shuffled}) {
      RC_ASSERT(starts_of(*other) == starts_of(first));
      RC_ASSERT(stops_of(*other) == stops_of(first));
      RC_ASSERT(waits_of(*other) == waits_of(first));
    }
  }));
}

/// The world after the stopping jobs and those of `stops` have stopped, but for those `kept`.
PlanInput after_stops(PlanInput input, const std::vector<PlannedStop>& stops,
                      const std::string& kept = "") {
  std::map<std::string, int64_t> sizes;  // What stays taken of each stopped job.
  for (const auto& job : input.running) {
    const bool soon = job.expected_end_ms != 0 &&
                      job.expected_end_ms <= input.now_ms + input.policy.stop_takes_ms;
    if (job.stopping || soon) sizes[job.id] = 0;
  }
  for (const auto& stop : stops) {
    if (stop.job != kept) sizes[stop.job] = stop.new_size;
  }
  for (auto& job : input.running) {
    if (!sizes.contains(job.id)) continue;
    int64_t freed = width_of(job.placement) - sizes[job.id];
    for (auto& part : job.placement) {
      const int64_t count = std::min(part.ranks, freed);
      freed -= count;
      std::ranges::find(input.agents, part.host, &AgentSlots::host)->free_slots += count;
    }
  }
  std::erase_if(input.running, [&sizes](const RunningJob& job) { return sizes.contains(job.id); });
  return input;
}

bool starts_alone(PlanInput input, const std::string& job) {
  std::erase_if(input.waiting, [&job](const WaitingJob& other) { return other.id != job; });
  const Plan result = plan(input);
  return result.starts.size() == 1U;
}

TEST(PlannerLaws, StopsMakeAStartPossibleAndNoneOfThemIsTooMany) {
  ASSERT_TRUE(rc::check([] {
    PlanInput input = any_input();
    for (auto& tenant : input.tenants) tenant.max_slots = 0;
    const Plan result = plan(input);
    const bool makes_room = !result.stops.empty() && !result.stops[0].for_job.empty();
    RC_CLASSIFY(makes_room, "makes room");
    if (!makes_room) return;
    const std::string job = result.stops[0].for_job;
    for (const auto& start : result.starts) {  // They run on when the head starts, or have ended.
      for (const auto& part : start.placement) {
        auto& agent = *std::ranges::find(input.agents, part.host, &AgentSlots::host);
        const int64_t expected_ms = job_of(input.waiting, start.job).expected_ms;
        const bool ends = expected_ms > 0 && expected_ms <= input.policy.stop_takes_ms;
        if (!ends) agent.free_slots -= part.ranks;
      }
    }
    RC_ASSERT(starts_alone(after_stops(input, result.stops), job));
    for (const auto& stop : result.stops) {
      RC_ASSERT(stop.for_job == job);
      if (stop.why == StopWhy::kResize) continue;  // Its rest may lie on either side.
      RC_ASSERT(!starts_alone(after_stops(input, result.stops, stop.job), job) ||
                !result.starts.empty());
    }
  }));
}

TEST(PlannerLaws, OnlyTheLessUrgentArePreempted) {
  ASSERT_TRUE(rc::check([] {
    const PlanInput input = any_input();
    std::set<std::string> seen;
    for (const auto& stop : plan(input).stops) {
      const RunningJob& job = job_of(input.running, stop.job);
      RC_ASSERT(seen.insert(stop.job).second);
      RC_ASSERT(job.preemptible);
      RC_ASSERT(!job.stopping);
      if (stop.why == StopWhy::kPreempt) {
        RC_ASSERT(input.policy.preemption);
        RC_ASSERT(job.priority < job_of(input.waiting, stop.for_job).priority);
        RC_ASSERT(stop.new_size == 0);
      } else {
        RC_ASSERT(stop.new_size >= job.min_workers);
        RC_ASSERT(stop.new_size <= job.max_workers || !stop.for_job.empty());
        RC_ASSERT(stop.new_size != width_of(job.placement));
      }
    }
  }));
}

}  // namespace
}  // namespace tunefleet::coordinator

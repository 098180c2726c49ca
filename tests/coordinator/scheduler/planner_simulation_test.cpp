#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "coordinator/scheduler/planner.h"
#include "tests/coordinator/scheduler/any_fleet.h"
#include "tests/coordinator/scheduler/simulated_fleet.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kMinute = 60'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kLongEnough = 1'000 * kHour;

/// When `head` starts if nothing but it waits from now on; kLongEnough: never.
int64_t start_of(SimulatedFleet fleet, const std::string& head) {
  std::erase_if(fleet.world().waiting, [&head](const WaitingJob& job) { return job.id != head; });
  const int64_t from_ms = fleet.now_ms();
  while (fleet.now_ms() < from_ms + kLongEnough) {
    fleet.pass_time(kLongEnough);
    fleet.plan_once();
    if (fleet.started().contains(head)) return fleet.now_ms();
  }
  return kLongEnough + from_ms;
}

/// A fleet of any jobs of one tenant that wait for slots only, in the plain order of priority and
/// age, and whose running jobs end some time.
SimulatedFleet any_fleet() {
  PlanInput input = any_input();
  input.policy.preemption = false;
  input.policy.ageing_per_hour = 0.0;
  input.policy.shrink_after_ms = input.policy.grow_after_ms = kLongEnough;
  SimulatedFleet fleet(input.agents, input.policy);
  fleet.world().now_ms = input.now_ms;
  fleet.world().tenants = {{.max_slots = *rc::gen::element<int64_t>(0, 0, 12, 20)}};
  for (auto& job : input.waiting) {
    job.not_before_ms = 0;
    job.tenant.clear();
  }
  fleet.world().waiting = input.waiting;
  for (auto& job : input.running) {
    job.stopping = false;
    job.tenant.clear();
    if (job.expected_end_ms != 0) job.expected_end_ms = std::max(kAnyNow + 1, job.expected_end_ms);
    const int64_t unknown_end_ms = kAnyNow + any_between(1, 99) * 9'999;
    fleet.run_until(job, job.expected_end_ms != 0 ? job.expected_end_ms : unknown_end_ms);
  }
  return fleet;
}

/// The job that waits for slots as such; null: none does.
const PlannedWait* head_of(const Plan& plan) {
  const auto head = std::ranges::find_if(plan.waits, [&plan](const PlannedWait& wait) {
    return plan.reasons[wait.reason].starts_with("waiting for ");
  });
  return head == plan.waits.end() ? nullptr : &*head;
}

/// Whether `job` comes behind `head` in the order of any_fleet().
bool comes_behind(const std::vector<WaitingJob>& waiting, const std::string& job,
                  const std::string& head) {
  const auto claim = [&waiting](const std::string& id) {
    const auto found = std::ranges::find(waiting, id, &WaitingJob::id);
    return std::tuple(-found->priority, found->submitted_at_ms, found - waiting.begin());
  };
  return claim(job) > claim(head);
}

TEST(PlannerSimulation, BackfillNeverDelaysTheHead) {
  ASSERT_TRUE(rc::check([] {
    SimulatedFleet with = any_fleet();
    const Plan decided = plan(with.world());
    const PlannedWait* head = head_of(decided);
    if (head == nullptr) return;
    // Where gangs may not span agents and no end is known, one agent is kept for the head: others
    // could have come free before it, and are not waited for.
    if (head->estimated_start_ms == 0 && !with.world().policy.span_agents) return;
    SimulatedFleet without = with;
    Plan fewer = decided;
    const auto behind = std::erase_if(fewer.starts, [&](const PlannedStart& start) {
      return comes_behind(with.world().waiting, start.job, head->job);
    });
    with.carry_out(decided);
    without.carry_out(fewer);
    const int64_t start_ms = start_of(with, head->job);
    const int64_t undisturbed_ms = start_of(without, head->job);
    RC_CLASSIFY(behind > 0, "back-filled");
    RC_ASSERT(start_ms <= std::max(undisturbed_ms, head->estimated_start_ms));
    RC_ASSERT(head->estimated_start_ms == 0 || start_ms <= head->estimated_start_ms);
  }));
}

TEST(PlannerSimulation, AWideJobUnderAnEndlessStreamOfNarrowOnesStarts) {
  ASSERT_TRUE(rc::check([] {
    PlanPolicy policy{.span_agents = one_in(2)};
    SimulatedFleet fleet(
        {{.host = "a", .slots = 4, .free_slots = 4}, {.host = "b", .slots = 4, .free_slots = 4}},
        policy);
    const bool own_tenant = one_in(2);
    const int64_t crowd_slots = *rc::gen::element<int64_t>(0, 4, 5);
    fleet.world().tenants = {{.tenant = "crowd", .max_slots = crowd_slots}};
    const int64_t stream_priority = any_between(0, 10);
    const auto stream = *rc::gen::container<std::vector<int>>(40, rc::gen::inRange(1, 20));
    int number = 0;
    const int64_t bound_ms = 12 * kHour;  // Ten points of priority are five hours.
    for (int64_t round = 0; fleet.now_ms() < bound_ms; ++round) {
      while (fleet.world().waiting.size() < 6) {
        const int64_t lasts_ms = stream[static_cast<size_t>(number) % stream.size()] * kMinute;
        fleet.submit({.id = "narrow-" + std::to_string(++number),
                      .tenant = "crowd",
                      .priority = stream_priority,
                      .expected_ms = lasts_ms});
      }
      if (round == 10) {
        fleet.submit({.id = "wide",
                      .tenant = own_tenant ? "lonely" : "crowd",
                      .min_workers = 4,
                      .max_workers = 4,
                      .expected_ms = kHour});
      }
      fleet.plan_once();
      if (fleet.started().contains("wide")) return;
      fleet.pass_time(kMinute);
    }
    RC_FAIL("the wide job did not start");
  }));
}

TEST(PlannerSimulation, UseConvergesToTheWeights) {
  ASSERT_TRUE(rc::check([] {
    const std::vector<double> weights{1.0, static_cast<double>(any_between(1, 5)), 2.0};
    SimulatedFleet fleet({{.host = "a", .slots = 6, .free_slots = 6}}, {});
    const std::vector<std::string> names{"one", "two", "three"};
    for (size_t i = 0; i < names.size(); ++i) {
      fleet.world().tenants.push_back({.tenant = names[i], .weight = weights[i]});
    }
    int number = 0;
    while (fleet.now_ms() < 24 * kHour) {
      for (const auto& name : names) {
        const auto mine = std::ranges::count(fleet.world().waiting, name, &WaitingJob::tenant);
        for (auto i = mine; i < 4; ++i) {
          const int64_t minutes = 10 + 7 * (++number % 5);
          fleet.submit({.id = "job-" + std::to_string(number),
                        .tenant = name,
                        .expected_ms = minutes * kMinute});
        }
      }
      for (auto& tenant : fleet.world().tenants) {
        tenant.used_device_ms = fleet.used_device_ms(tenant.tenant);
      }
      fleet.plan_once();
      fleet.pass_time(kHour);
    }
    double total = 0.0;
    for (const auto& name : names) total += fleet.used_device_ms(name);
    const double weight_sum = weights[0] + weights[1] + weights[2];
    for (size_t i = 0; i < names.size(); ++i) {
      const double share = fleet.used_device_ms(names[i]) / total;
      RC_ASSERT(std::abs(share - weights[i] / weight_sum) < 0.04);
    }
  }));
}

TEST(PlannerSimulation, StoppedJobsComeBackAndNobodyStopsForever) {
  ASSERT_TRUE(rc::check([] {
    SimulatedFleet fleet({{.host = "a", .slots = 8, .free_slots = 8}}, {});
    fleet.submit({.id = "elastic", .min_workers = 2, .max_workers = 8});
    fleet.submit({.id = "fixed", .min_workers = 2, .max_workers = 2});
    fleet.plan_once();
    fleet.pass_time(2 * kMinute);
    const int64_t jobs = any_between(1, 5);
    for (int64_t i = 0; i < jobs; ++i) {
      const int64_t workers = any_between(1, 9);
      fleet.submit({.id = "job-" + std::to_string(i),
                    .min_workers = workers,
                    .max_workers = workers,
                    .priority = any_between(0, 3),
                    .expected_ms = any_between(1, 20) * kMinute});
    }
    const int64_t from_ms = fleet.now_ms();
    while (fleet.now_ms() < from_ms + 10 * kHour) {
      fleet.plan_once();
      fleet.pass_time(kMinute);
    }
    // All short jobs have run, but for those that need slots of the endless equals.
    RC_ASSERT(fleet.stops() <= 4 * jobs + 4);
    const auto& running = fleet.world().running;
    const auto runs = [&running](const std::string& id) {
      return std::ranges::count(running, id, &RunningJob::id) == 1;
    };
    const bool blocked = !fleet.world().waiting.empty();
    RC_ASSERT(blocked || (runs("elastic") && runs("fixed")));
  }));
}

}  // namespace
}  // namespace tunefleet::coordinator

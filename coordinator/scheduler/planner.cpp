#include "coordinator/scheduler/planner.h"

#include <fmt/format.h>

#include <algorithm>

namespace tunefleet::coordinator {
namespace {

std::string slots_text(int64_t count) {
  return fmt::format("{} {}", count, count == 1 ? "slot" : "slots");
}

/// The agent with the fewest free slots that still holds `workers`; null when none does.
AgentSlots* best_fit(std::vector<AgentSlots>& agents, int64_t workers) {
  AgentSlots* best = nullptr;
  for (auto& agent : agents) {
    if (agent.free_slots < workers) continue;
    if (best == nullptr || agent.free_slots < best->free_slots ||
        (agent.free_slots == best->free_slots && agent.host < best->host)) {
      best = &agent;
    }
  }
  return best;
}

int64_t widest(const std::vector<AgentSlots>& agents) {
  int64_t slots = 0;
  for (const auto& agent : agents) slots = std::max(slots, agent.slots);
  return slots;
}

/// Why the job at the head waits: slots are taken.
std::string waits_for_slots(const std::vector<AgentSlots>& agents, int64_t workers) {
  if (agents.size() == 1) {
    return fmt::format("waiting for {} ({} free of {})", slots_text(workers), agents[0].free_slots,
                       agents[0].slots);
  }
  int64_t free_slots = 0;
  for (const auto& agent : agents) free_slots = std::max(free_slots, agent.free_slots);
  return fmt::format("waiting for {} on one agent ({} free at most, on {} agents)",
                     slots_text(workers), free_slots, agents.size());
}

}  // namespace

Plan plan(const PlanInput& input) {
  std::vector<AgentSlots> agents = input.agents;
  std::vector<WaitingJob> waiting = input.waiting;
  std::ranges::stable_sort(
      waiting, [](const WaitingJob& a, const WaitingJob& b) { return a.priority > b.priority; });

  Plan plan;
  std::string head;  // The job that everything behind it waits for; empty: none.
  const auto wait = [&plan](const WaitingJob& job, std::string reason) {
    plan.waits.push_back({.job = job.id,
                          .position = static_cast<int64_t>(plan.waits.size()) + 1,
                          .reason = std::move(reason)});
  };
  for (const auto& job : waiting) {
    if (agents.empty()) {
      wait(job, "no agent is connected");
    } else if (job.workers > widest(agents)) {
      wait(job, fmt::format("needs {}, the largest agent has {}", slots_text(job.workers),
                            widest(agents)));
    } else if (!head.empty()) {
      wait(job, fmt::format("waiting behind {}", head));
    } else if (AgentSlots* agent = best_fit(agents, job.workers)) {
      agent->free_slots -= job.workers;
      plan.starts.push_back({.job = job.id, .host = agent->host});
    } else {
      wait(job, waits_for_slots(agents, job.workers));
      head = job.id;
    }
  }
  return plan;
}

}  // namespace tunefleet::coordinator

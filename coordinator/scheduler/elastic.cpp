#include "coordinator/scheduler/elastic.h"

#include <algorithm>

namespace tunefleet::coordinator {
namespace {

bool is_elastic(const RunningJob& job) { return job.max_workers > job.min_workers; }

/// The width a running job could have if it were started again now.
int64_t reachable_width(const Occupant& occupant, const SlotIndex& slots) {
  const auto everywhere = AgentSet::all();
  if (slots.span_agents()) return occupant.width + slots.free_in(everywhere);
  int64_t widest = slots.room_in(everywhere);
  for (const auto& seat : occupant.seats) {
    widest = std::max(widest, slots.free_on(seat.agent) + seat.ranks);
  }
  return widest;
}

}  // namespace

std::vector<Giver> shrinkable(const WaitingJob& job, const AgentSet& pool,
                              const std::vector<size_t>& candidates,
                              const std::vector<Occupant>& occupants, const PlanInput& input) {
  const PlanPolicy& policy = input.policy;
  std::vector<Giver> givers;
  for (const size_t i : candidates) {
    const Occupant& occupant = occupants[i];
    const RunningJob& running = *occupant.job;
    const int64_t surplus = occupant.width - std::max<int64_t>(1, running.min_workers);
    const bool gives_way = running.preemptible && running.priority <= job.priority;
    const bool settled = input.now_ms - running.started_at_ms >= policy.shrink_after_ms;
    if (!is_elastic(running) || surplus <= 0 || running.stopping || !gives_way || !settled)
      continue;
    if (occupant.free_at_ms <= input.now_ms + policy.stop_takes_ms) continue;
    if (ranks_in(occupant.seats, pool) == occupant.width) givers.push_back({i, surplus, 0});
  }
  std::ranges::stable_sort(givers, std::greater<>(), &Giver::slots);
  return givers;
}

std::vector<Stop> shrink(const std::vector<Giver>& givers, int64_t slots,
                         const std::vector<Occupant>& occupants) {
  std::vector<Stop> stops;
  for (const auto& giver : givers) {
    if (slots <= 0) break;
    const int64_t given = std::min(giver.slots, slots);
    stops.push_back({giver.occupant, occupants[giver.occupant].width - given});
    slots -= given;
  }
  return stops;
}

std::optional<Stop> grow(const std::vector<Occupant>& occupants, const SlotIndex& slots,
                         const TenantLedger& ledger, const PlanInput& input) {
  if (slots.free_in(AgentSet::all()) == 0) return std::nullopt;
  std::optional<Stop> best;
  int64_t best_gain = 0;
  for (size_t i = 0; i < occupants.size(); ++i) {
    const Occupant& occupant = occupants[i];
    const RunningJob& job = *occupant.job;
    if (job.stopping) return std::nullopt;
    if (!is_elastic(job) || !job.preemptible || occupant.width >= job.max_workers) continue;
    if (input.now_ms - job.started_at_ms < input.policy.grow_after_ms) continue;
    if (occupant.free_at_ms <= input.now_ms + input.policy.stop_takes_ms) continue;
    const int64_t allowed =
        std::min(job.max_workers - occupant.width, ledger.left(ledger.id_of(job.tenant)));
    const int64_t gain = std::min(allowed, reachable_width(occupant, slots) - occupant.width);
    if (gain <= best_gain) continue;
    best_gain = gain;
    best = Stop{i, occupant.width + gain};
  }
  return best;
}

}  // namespace tunefleet::coordinator

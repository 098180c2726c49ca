#include "coordinator/scheduler/preemption.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kTableEntries = 1'000'000;

using Cost = std::pair<int64_t, int64_t>;  ///< Device time lost, jobs stopped.

int64_t slots_of(const std::vector<Giver>& givers) {
  return std::accumulate(givers.begin(), givers.end(), int64_t{0},
                         [](int64_t sum, const Giver& giver) { return sum + giver.slots; });
}

/// Leaves of each width only as many, the cheapest, as could be needed together.
std::vector<Giver> contenders(int64_t slots, std::vector<Giver> givers) {
  std::ranges::stable_sort(givers, {}, &Giver::lost_ms);
  std::map<int64_t, int64_t> kept;
  std::erase_if(givers, [&kept, slots](const Giver& giver) {
    const int64_t width = std::min(giver.slots, slots);
    return ++kept[width] > (slots + width - 1) / width;
  });
  return givers;
}

/// The 0/1 knapsack turned around: the least cost to reach at least `slots`.
std::vector<Giver> exact_cover(int64_t slots, const std::vector<Giver>& givers) {
  const auto target = static_cast<size_t>(slots);
  const Cost unreachable{std::numeric_limits<int64_t>::max(), 0};
  std::vector<Cost> least(target + 1, unreachable);
  least[0] = {0, 0};
  std::vector<std::vector<bool>> chosen(givers.size(), std::vector<bool>(target + 1, false));
  const auto rest = [&givers](size_t wanted, size_t giver) {
    return wanted - std::min(wanted, static_cast<size_t>(givers[giver].slots));
  };
  for (size_t i = 0; i < givers.size(); ++i) {
    for (size_t wanted = target; wanted > 0; --wanted) {
      const Cost& before = least[rest(wanted, i)];
      if (before == unreachable) continue;
      const Cost cost{before.first + givers[i].lost_ms, before.second + 1};
      if (cost >= least[wanted]) continue;
      least[wanted] = cost;
      chosen[i][wanted] = true;
    }
  }
  std::vector<Giver> cover;
  size_t wanted = target;
  for (size_t i = givers.size(); i-- > 0;) {
    if (!chosen[i][wanted]) continue;
    cover.push_back(givers[i]);
    wanted = rest(wanted, i);
  }
  return cover;
}

/// Cheapest per slot first, then without those that turned out unnecessary, dearest first.
std::vector<Giver> near_cover(int64_t slots, std::vector<Giver> givers) {
  std::ranges::stable_sort(givers, {}, [](const Giver& giver) {
    return static_cast<double>(giver.lost_ms) / static_cast<double>(giver.slots);
  });
  std::vector<Giver> cover;
  int64_t covered = 0;
  for (const auto& giver : givers) {
    if (covered >= slots) break;
    cover.push_back(giver);
    covered += giver.slots;
  }
  std::ranges::stable_sort(cover, std::greater<>(), &Giver::lost_ms);
  std::erase_if(cover, [&covered, slots](const Giver& giver) {
    if (covered - giver.slots < slots) return false;
    covered -= giver.slots;
    return true;
  });
  return cover;
}

/// Stops and what they cost.
struct Room {
  std::vector<Stop> stops{};
  Cost cost{};
};

/// Finds the stops for one job on one pool of agents at a time.
class RoomFinder {
 public:
  RoomFinder(const WaitingJob& job, const SlotIndex& slots, const std::vector<Occupant>& occupants,
             const PlanInput& input)
      : job_(job), slots_(slots), occupants_(occupants), input_(input) {}

  /// `candidates`: the occupants with seats on the pool.
  std::optional<Room> on(const AgentSet& pool, const std::vector<size_t>& candidates) const {
    const int64_t missing = missing_on(pool, candidates);
    if (missing <= 0) return std::nullopt;
    const auto narrower = shrinkable(job_, pool, candidates, occupants_, input_);
    const auto victims = preemptible(pool, candidates);
    if (auto room = combine(missing, narrower, less(victims, narrower))) return room;
    return combine(missing, less(narrower, victims), victims);
  }

 private:
  int64_t soon_ms() const { return input_.now_ms + input_.policy.stop_takes_ms; }

  /// Slots that neither are free nor come free by themselves as soon as a stop would free them.
  int64_t missing_on(const AgentSet& pool, const std::vector<size_t>& candidates) const {
    int64_t missing = job_.min_workers - slots_.free_in(pool);
    for (const size_t i : candidates) {
      if (occupants_[i].free_at_ms > soon_ms()) continue;
      missing -= std::max<int64_t>(0, ranks_in(occupants_[i].seats, pool) - occupants_[i].returns);
    }
    return missing;
  }

  std::vector<Giver> preemptible(const AgentSet& pool,
                                 const std::vector<size_t>& candidates) const {
    const PlanPolicy& policy = input_.policy;
    std::vector<Giver> victims;
    if (!policy.preemption) return victims;
    for (const size_t i : candidates) {
      const RunningJob& running = *occupants_[i].job;
      const int64_t ran_ms = input_.now_ms - running.started_at_ms;
      const int64_t margin = std::max<int64_t>(1, policy.preemption_margin);
      if (!running.preemptible || running.stopping || ran_ms < policy.preempt_after_ms) continue;
      if (running.priority + margin > job_.priority) continue;
      if (occupants_[i].free_at_ms <= soon_ms()) continue;
      const int64_t ranks = ranks_in(occupants_[i].seats, pool);
      if (ranks > 0)
        victims.push_back({i, ranks, std::max<int64_t>(0, ran_ms) * occupants_[i].width});
    }
    return victims;
  }

  static std::vector<Giver> less(std::vector<Giver> givers, const std::vector<Giver>& others) {
    std::set<size_t> left_out;
    for (const auto& giver : others) left_out.insert(giver.occupant);
    std::erase_if(givers,
                  [&left_out](const Giver& giver) { return left_out.contains(giver.occupant); });
    return givers;
  }

  /// Everything `narrower` can give first, victims for the rest only. The two share nobody.
  std::optional<Room> combine(int64_t missing, const std::vector<Giver>& narrower,
                              const std::vector<Giver>& victims) const {
    const auto cover = cheapest_cover(missing - slots_of(narrower), victims);
    if (!cover) return std::nullopt;
    Room room{.stops = shrink(narrower, missing - slots_of(*cover), occupants_)};
    room.cost.second = static_cast<int64_t>(room.stops.size() + cover->size());
    for (const auto& victim : *cover) {
      room.stops.push_back({victim.occupant, 0});
      room.cost.first += victim.lost_ms;
    }
    return room;
  }

  const WaitingJob& job_;
  const SlotIndex& slots_;
  const std::vector<Occupant>& occupants_;
  const PlanInput& input_;
};

std::vector<std::vector<size_t>> occupants_by_agent(const std::vector<Occupant>& occupants,
                                                    size_t agents) {
  std::vector<std::vector<size_t>> by_agent(agents);
  for (size_t i = 0; i < occupants.size(); ++i) {
    for (const auto& seat : occupants[i].seats) by_agent[seat.agent].push_back(i);
  }
  return by_agent;
}

}  // namespace

std::optional<std::vector<Giver>> cheapest_cover(int64_t slots, std::vector<Giver> givers) {
  if (slots <= 0) return std::vector<Giver>{};
  if (slots_of(givers) < slots) return std::nullopt;
  givers = contenders(slots, std::move(givers));
  const bool small = slots <= kTableEntries / static_cast<int64_t>(givers.size());
  return small ? exact_cover(slots, givers) : near_cover(slots, std::move(givers));
}

std::vector<Stop> make_room(const WaitingJob& job, const AgentSet& where, const SlotIndex& slots,
                            const std::vector<Occupant>& occupants, const PlanInput& input) {
  const RoomFinder find_room(job, slots, occupants, input);
  if (slots.span_agents()) {
    std::vector<size_t> candidates(occupants.size());
    std::iota(candidates.begin(), candidates.end(), size_t{0});
    const auto room = find_room.on(where, candidates);
    return room ? room->stops : std::vector<Stop>{};
  }
  Room cheapest;
  const auto by_agent = occupants_by_agent(occupants, slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots.agent(i).slots < job.min_workers || !where.contains(i)) continue;
    auto room = find_room.on(AgentSet::only({i}), by_agent[i]);
    if (!room) continue;
    if (cheapest.stops.empty() || room->cost < cheapest.cost) cheapest = std::move(*room);
  }
  return cheapest.stops;
}

}  // namespace tunefleet::coordinator

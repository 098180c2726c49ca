#include "coordinator/scheduler/reservation.h"

#include <algorithm>
#include <optional>

namespace tunefleet::coordinator {
namespace {

using ReleaseIterator = std::vector<Release>::const_iterator;

/// Past the releases of the same moment as `first`.
ReleaseIterator end_of_moment(ReleaseIterator first, ReleaseIterator end) {
  return std::find_if(first, end,
                      [at = first->at_ms](const Release& release) { return release.at_ms != at; });
}

Reservation reserve_anywhere(int64_t ranks, const AgentSet& where, const SlotIndex& slots,
                             const std::vector<Release>& releases) {
  int64_t free_slots = slots.free_in(where);
  int64_t returns = 0;
  for (auto release = releases.begin(); release != releases.end();) {
    const int64_t at_ms = release->at_ms;
    for (const auto end = end_of_moment(release, releases.end()); release != end; ++release) {
      free_slots += ranks_in(*release->seats, where);
      returns += release->returns;
    }
    if (free_slots < ranks) continue;
    return {at_ms, where, std::max<int64_t>(0, free_slots - ranks - returns)};
  }
  return {kNever, where, 0};
}

/// One agent's slots over time.
struct AgentOutlook {
  int64_t free_slots = 0;
  int64_t returns = 0;
};

/// The agent that lacks the fewest slots, of those wide enough.
Reservation reserve_nearest(int64_t ranks, const AgentSet& where, const SlotIndex& slots,
                            const std::vector<AgentOutlook>& outlook) {
  std::optional<size_t> nearest;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots.agent(i).slots < ranks || !where.contains(i)) continue;
    if (!nearest || outlook[i].free_slots > outlook[*nearest].free_slots) nearest = i;
  }
  return {kNever, nearest ? AgentSet::only({*nearest}) : where, 0};
}

Reservation reserve_one_agent(int64_t ranks, const AgentSet& where, const SlotIndex& slots,
                              const std::vector<Release>& releases) {
  std::vector<AgentOutlook> outlook(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) outlook[i].free_slots = slots.free_on(i);
  for (auto release = releases.begin(); release != releases.end();) {
    const int64_t at_ms = release->at_ms;
    std::optional<size_t> first;
    const auto end = end_of_moment(release, releases.end());
    for (auto each = release; each != end; ++each) {
      for (const auto& seat : *each->seats) {
        outlook[seat.agent].free_slots += seat.ranks;
        outlook[seat.agent].returns += each->returns;
      }
    }
    for (; release != end; ++release) {
      for (const auto& seat : *release->seats) {
        if (outlook[seat.agent].free_slots < ranks || !where.contains(seat.agent)) continue;
        if (!first || seat.agent < *first) first = seat.agent;
      }
    }
    if (!first) continue;
    const auto& [free_slots, returns] = outlook[*first];
    return {at_ms, AgentSet::only({*first}), std::max<int64_t>(0, free_slots - ranks - returns)};
  }
  return reserve_nearest(ranks, where, slots, outlook);
}

int64_t free_at_ms(const RunningJob& job, const PlanInput& input) {
  const int64_t end_ms =
      job.expected_end_ms == 0 ? kNever : std::max(job.expected_end_ms, input.now_ms);
  return job.stopping ? std::min(end_ms, input.now_ms + input.policy.stop_takes_ms) : end_ms;
}

}  // namespace

std::vector<Occupant> occupants_of(const PlanInput& input, const SlotIndex& slots) {
  std::vector<Occupant> occupants;
  occupants.reserve(input.running.size());
  for (const auto& job : input.running) {
    Occupant occupant{.job = &job,
                      .seats = slots.seats_of(job.placement),
                      .free_at_ms = free_at_ms(job, input),
                      .returns = job.stopping ? job.resizing_to : 0,
                      .stopping = job.stopping};
    for (const auto& part : job.placement) occupant.width += part.ranks;
    occupants.push_back(std::move(occupant));
  }
  return occupants;
}

Reservation reserve(int64_t ranks, const AgentSet& where, const SlotIndex& slots,
                    std::vector<Release> releases) {
  std::ranges::stable_sort(releases, {}, &Release::at_ms);
  return slots.span_agents() ? reserve_anywhere(ranks, where, slots, releases)
                             : reserve_one_agent(ranks, where, slots, releases);
}

}  // namespace tunefleet::coordinator

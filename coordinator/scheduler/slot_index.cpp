#include "coordinator/scheduler/slot_index.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

namespace tunefleet::coordinator {

AgentSet::AgentSet(std::vector<size_t> agents, bool inverted)
    : listed_(std::move(agents)), inverted_(inverted) {
  if (listed_.size() < 2) return;
  std::ranges::sort(listed_);
  listed_.erase(std::unique(listed_.begin(), listed_.end()), listed_.end());
}

bool AgentSet::contains(size_t agent) const {
  return std::ranges::binary_search(listed_, agent) != inverted_;
}

AgentSet AgentSet::operator&(const AgentSet& other) const {
  std::vector<size_t> agents;
  if (inverted_ && other.inverted_) {
    std::ranges::set_union(listed_, other.listed_, std::back_inserter(agents));
    return all_but(std::move(agents));
  }
  const AgentSet& listing = inverted_ ? other : *this;
  const AgentSet& filter = inverted_ ? *this : other;
  for (const size_t agent : listing.listed_) {
    if (filter.contains(agent)) agents.push_back(agent);
  }
  return only(std::move(agents));
}

int64_t ranks_in(const Seats& seats, const AgentSet& where) {
  int64_t ranks = 0;
  for (const auto& seat : seats) ranks += where.contains(seat.agent) ? seat.ranks : 0;
  return ranks;
}

SlotIndex::SlotIndex(const std::vector<AgentSlots>& agents, bool span_agents)
    : span_agents_(span_agents), free_(agents.size()), widest_first_(agents.size()) {
  for (const auto& agent : agents) agents_.push_back(&agent);
  std::ranges::sort(agents_, {},
                    [](const AgentSlots* agent) -> const std::string& { return agent->host; });
  for (size_t i = 0; i < agents_.size(); ++i) {
    index_.emplace(agents_[i]->host, i);
    free_[i] =
        std::clamp<int64_t>(agents_[i]->free_slots, 0, std::max<int64_t>(0, agents_[i]->slots));
    by_free_[free_[i]].insert(i);
    total_free_ += free_[i];
    total_slots_ += agents_[i]->slots;
  }
  std::iota(widest_first_.begin(), widest_first_.end(), size_t{0});
  std::ranges::stable_sort(widest_first_, std::greater<>(),
                           [this](size_t i) { return agents_[i]->slots; });
}

std::optional<size_t> SlotIndex::index_of(std::string_view host) const {
  const auto found = index_.find(host);
  if (found == index_.end()) return std::nullopt;
  return found->second;
}

AgentSet SlotIndex::without(const std::vector<std::string>& hosts) const {
  std::vector<size_t> agents;
  for (const auto& host : hosts) {
    if (const auto index = index_of(host)) agents.push_back(*index);
  }
  return AgentSet::all_but(std::move(agents));
}

Seats SlotIndex::seats_of(const Placement& placement) const {
  Seats seats;
  for (const auto& part : placement) {
    if (const auto index = index_of(part.host)) seats.push_back({*index, part.ranks});
  }
  return seats;
}

Placement SlotIndex::placement_of(const Seats& seats) const {
  Placement placement;
  for (const auto& seat : seats) placement.push_back({agents_[seat.agent]->host, seat.ranks});
  return placement;
}

int64_t SlotIndex::slots_in(const AgentSet& where) const {
  int64_t listed = 0;
  for (const size_t i : where.listed()) listed += agents_[i]->slots;
  return where.inverted() ? total_slots_ - listed : listed;
}

int64_t SlotIndex::free_in(const AgentSet& where) const {
  int64_t listed = 0;
  for (const size_t i : where.listed()) listed += free_[i];
  return where.inverted() ? total_free_ - listed : listed;
}

int64_t SlotIndex::room_in(const AgentSet& where) const {
  if (span_agents_) return free_in(where);
  for (auto level = by_free_.rbegin(); level != by_free_.rend(); ++level) {
    const auto& agents = level->second;
    if (std::ranges::any_of(agents, [&where](size_t i) { return where.contains(i); })) {
      return level->first;
    }
  }
  return 0;
}

int64_t SlotIndex::capacity_in(const AgentSet& where) const {
  if (span_agents_) return slots_in(where);
  for (const size_t i : widest_first_) {
    if (where.contains(i)) return agents_[i]->slots;
  }
  return 0;
}

std::optional<Seats> SlotIndex::place(int64_t ranks, const AgentSet& where) const {
  if (free_in(where) < ranks) return std::nullopt;
  if (const auto agent = best_fit(ranks, where)) return Seats{{*agent, ranks}};
  if (!span_agents_) return std::nullopt;
  Seats seats;
  std::vector<size_t> taken;
  for (const size_t agent : roomiest_first(where)) {
    if (ranks <= free_[agent]) break;
    seats.push_back({agent, free_[agent]});
    taken.push_back(agent);
    ranks -= free_[agent];
  }
  if (ranks > 0) {
    const auto last = best_fit(ranks, where & AgentSet::all_but(std::move(taken)));
    seats.push_back({*last, ranks});
  }
  std::ranges::sort(seats, {}, &Seat::agent);
  return seats;
}

std::optional<size_t> SlotIndex::best_fit(int64_t ranks, const AgentSet& where) const {
  if (!where.inverted()) {
    std::optional<size_t> best;
    for (const size_t i : where.listed()) {
      if (free_[i] >= ranks && (!best || free_[i] < free_[*best])) best = i;
    }
    return best;
  }
  for (auto level = by_free_.lower_bound(ranks); level != by_free_.end(); ++level) {
    const auto& agents = level->second;
    const auto found =
        std::ranges::find_if(agents, [&where](size_t i) { return where.contains(i); });
    if (found != agents.end()) return *found;
  }
  return std::nullopt;
}

/// Agents of `where` with free slots.
std::vector<size_t> SlotIndex::roomiest_first(const AgentSet& where) const {
  std::vector<size_t> order;
  for (auto level = by_free_.rbegin(); level != by_free_.rend() && level->first > 0; ++level) {
    for (const size_t i : level->second) {
      if (where.contains(i)) order.push_back(i);
    }
  }
  return order;
}

void SlotIndex::take(const Seats& seats) {
  for (const auto& seat : seats) set_free(seat.agent, free_[seat.agent] - seat.ranks);
}

void SlotIndex::give(const Seats& seats) {
  for (const auto& seat : seats) set_free(seat.agent, free_[seat.agent] + seat.ranks);
}

void SlotIndex::set_free(size_t index, int64_t free_slots) {
  const auto level = by_free_.find(free_[index]);
  level->second.erase(index);
  if (level->second.empty()) by_free_.erase(level);
  total_free_ += free_slots - free_[index];
  free_[index] = free_slots;
  by_free_[free_slots].insert(index);
}

}  // namespace tunefleet::coordinator

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/scheduler/plan_input.h"

namespace tunefleet::coordinator {

/// A set of agents, by index: those listed, or all but those listed. Lists are short.
class AgentSet {
 public:
  static AgentSet all() { return all_but({}); }
  static AgentSet all_but(std::vector<size_t> agents) { return {std::move(agents), true}; }
  static AgentSet only(std::vector<size_t> agents) { return {std::move(agents), false}; }

  bool contains(size_t agent) const;
  AgentSet complement() const { return {listed_, !inverted_}; }
  AgentSet operator&(const AgentSet& other) const;

  /// Whether the set is everything but listed().
  bool inverted() const { return inverted_; }
  /// Sorted, each once.
  const std::vector<size_t>& listed() const { return listed_; }

 private:
  AgentSet(std::vector<size_t> agents, bool inverted);

  std::vector<size_t> listed_;
  bool inverted_;
};

/// `ranks` of a gang on the agent of this index.
struct Seat {
  size_t agent = 0;
  int64_t ranks = 0;
};
using Seats = std::vector<Seat>;

/// Ranks on agents of `where`.
int64_t ranks_in(const Seats& seats, const AgentSet& where);

/// The agents by their free slots. Finding a place does not look at every agent.
class SlotIndex {
 public:
  /// Borrows `agents`. With `span_agents` a gang may use several.
  SlotIndex(const std::vector<AgentSlots>& agents, bool span_agents);

  size_t size() const { return agents_.size(); }
  const AgentSlots& agent(size_t index) const { return *agents_[index]; }
  bool span_agents() const { return span_agents_; }
  int64_t free_on(size_t index) const { return free_[index]; }

  AgentSet without(const std::vector<std::string>& hosts) const;
  /// Leaves out hosts that are not among the agents.
  Seats seats_of(const Placement& placement) const;
  Placement placement_of(const Seats& seats) const;

  int64_t slots_in(const AgentSet& where) const;
  int64_t free_in(const AgentSet& where) const;
  /// The widest gang that fits on `where` now.
  int64_t room_in(const AgentSet& where) const;
  /// The widest gang that fits on `where` when nothing else runs.
  int64_t capacity_in(const AgentSet& where) const;

  /// A place for `ranks` on `where`: the agent with the fewest free slots that holds them, else the
  /// fewest agents; the first by name among equals. None when not all fit. Takes nothing.
  std::optional<Seats> place(int64_t ranks, const AgentSet& where) const;
  void take(const Seats& seats);
  void give(const Seats& seats);

 private:
  std::optional<size_t> best_fit(int64_t ranks, const AgentSet& where) const;
  std::vector<size_t> roomiest_first(const AgentSet& where) const;
  void set_free(size_t index, int64_t free_slots);
  std::optional<size_t> index_of(std::string_view host) const;

  bool span_agents_;
  std::vector<const AgentSlots*> agents_;  ///< By host.
  std::unordered_map<std::string_view, size_t> index_;
  std::vector<int64_t> free_;
  std::map<int64_t, std::set<size_t>> by_free_;
  std::vector<size_t> widest_first_;
  int64_t total_slots_ = 0;
  int64_t total_free_ = 0;
};

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "coordinator/scheduler/slot_index.h"

namespace tunefleet::coordinator {

/// A time that is not known.
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// A running job as the planner sees it.
struct Occupant {
  const RunningJob* job = nullptr;
  Seats seats{};
  int64_t width = 0;            ///< Its ranks, those on unknown hosts too.
  int64_t free_at_ms = kNever;  ///< When its slots are expected to come free.
  int64_t returns = 0;          ///< Slots it then needs again: it only changes its width.
  bool stopping = false;
};

/// In the order of PlanInput::running.
std::vector<Occupant> occupants_of(const PlanInput& input, const SlotIndex& slots);

/// Slots that come free at a time that is known. Borrows the seats.
struct Release {
  int64_t at_ms = 0;
  const Seats* seats = nullptr;
  int64_t returns = 0;  ///< Of these slots, those that the same job needs again.
};

/// The head's claim: at `start_ms` it starts on `pool`, if nothing else takes its slots.
struct Reservation {
  int64_t start_ms = kNever;  ///< kNever: not by the ends that are known.
  AgentSet pool = AgentSet::all();
  int64_t spare = 0;  ///< Slots of the pool that it will not need, free at start_ms.
};

/// The earliest time that `ranks` fit on `where`, given what is free and what comes free. When
/// gangs may not span agents the pool is one agent; without a known time it is the one on which the
/// fewest slots are missing, so that waiting for it makes progress.
Reservation reserve(int64_t ranks, const AgentSet& where, const SlotIndex& slots,
                    std::vector<Release> releases);

}  // namespace tunefleet::coordinator

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/scheduler/plan_input.h"
#include "coordinator/scheduler/reservation.h"
#include "coordinator/scheduler/slot_index.h"
#include "coordinator/scheduler/tenant_ledger.h"

namespace tunefleet::coordinator {

/// A running job that could make room: by going on narrower, or by stopping.
struct Giver {
  size_t occupant = 0;
  int64_t slots = 0;    ///< What it can give up.
  int64_t lost_ms = 0;  ///< Device time it has run since its start: what a stop puts at risk.
};

/// A stop of the running job with this index; it goes on with `new_size` ranks, 0: when its turn
/// comes again.
struct Stop {
  size_t occupant = 0;
  int64_t new_size = 0;
};

/// Elastic jobs entirely on `pool` that may become narrower for `job`: of at most its priority, and
/// not started or resized just now. What they give up widest first.
std::vector<Giver> shrinkable(const WaitingJob& job, const AgentSet& pool,
                              const std::vector<size_t>& candidates,
                              const std::vector<Occupant>& occupants, const PlanInput& input);

/// Takes `slots` from the fewest of `givers` (widest first), no more than that. They must have
/// them.
std::vector<Stop> shrink(const std::vector<Giver>& givers, int64_t slots,
                         const std::vector<Occupant>& occupants);

/// The elastic job that gains the most by going on wider on what is free; one at a time, so that
/// the fleet does not stop as a whole. For when nothing waits: none while any job is stopping.
std::optional<Stop> grow(const std::vector<Occupant>& occupants, const SlotIndex& slots,
                         const TenantLedger& ledger, const PlanInput& input);

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/scheduler/elastic.h"

namespace tunefleet::coordinator {

/// Of `givers` those that give `slots` together and lose the least device time, and of these the
/// fewest; none when all of them do not have so many. Exact up to a table of a million entries,
/// past that a near one from which nobody can be left out.
std::optional<std::vector<Giver>> cheapest_cover(int64_t slots, std::vector<Giver> givers);

/// The stops after which `job` fits on `where`: elastic jobs become narrower before anybody is
/// preempted, and nobody is stopped in vain or beyond need. Empty when nothing helps, or when
/// enough is coming free already.
///
/// Preempted is only who is preemptible, of lower priority by the policy's margin, and not started
/// just now.
std::vector<Stop> make_room(const WaitingJob& job, const AgentSet& where, const SlotIndex& slots,
                            const std::vector<Occupant>& occupants, const PlanInput& input);

}  // namespace tunefleet::coordinator

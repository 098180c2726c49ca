#include "coordinator/scheduler/backfill.h"

namespace tunefleet::coordinator {

bool Backfill::ends_in_time(int64_t expected_ms) const {
  return expected_ms > 0 && expected_ms <= reservation_.start_ms - now_ms_ &&
         reservation_.start_ms != kNever;
}

std::optional<Seats> Backfill::place(int64_t ranks, int64_t expected_ms, const AgentSet& where,
                                     const SlotIndex& slots) const {
  if (ends_in_time(expected_ms) || ranks <= reservation_.spare) return slots.place(ranks, where);
  return slots.place(ranks, where & reservation_.pool.complement());
}

bool Backfill::allows(const Seats& before, const Seats& after, int64_t expected_ms) const {
  return taken(before, after, expected_ms) <= reservation_.spare;
}

void Backfill::note(const Seats& before, const Seats& after, int64_t expected_ms) {
  reservation_.spare -= taken(before, after, expected_ms);
}

int64_t Backfill::taken(const Seats& before, const Seats& after, int64_t expected_ms) const {
  if (ends_in_time(expected_ms)) return 0;
  return ranks_in(after, reservation_.pool) - ranks_in(before, reservation_.pool);
}

}  // namespace tunefleet::coordinator

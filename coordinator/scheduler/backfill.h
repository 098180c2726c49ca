#pragma once

#include <cstdint>
#include <optional>

#include "coordinator/scheduler/reservation.h"
#include "coordinator/scheduler/slot_index.h"

namespace tunefleet::coordinator {

/// Lets jobs start behind the head where its reservation stands all the same: until it begins on
/// any slot, beyond that outside its pool or on the pool's spare slots.
class Backfill {
 public:
  Backfill(Reservation reservation, int64_t now_ms)
      : reservation_(std::move(reservation)), now_ms_(now_ms) {}

  const Reservation& reservation() const { return reservation_; }
  /// Whether a job that starts now has ended when the head starts. Not if its time is unknown.
  bool ends_in_time(int64_t expected_ms) const;

  /// A place for a job of `ranks` on `where`; none when there is none that leaves the head alone.
  std::optional<Seats> place(int64_t ranks, int64_t expected_ms, const AgentSet& where,
                             const SlotIndex& slots) const;
  /// Whether a job may sit at `after` rather than at `before`.
  bool allows(const Seats& before, const Seats& after, int64_t expected_ms) const;
  /// Notes that it does.
  void note(const Seats& before, const Seats& after, int64_t expected_ms);

 private:
  /// Pool slots that a move takes from the head.
  int64_t taken(const Seats& before, const Seats& after, int64_t expected_ms) const;

  Reservation reservation_;
  int64_t now_ms_;
};

}  // namespace tunefleet::coordinator

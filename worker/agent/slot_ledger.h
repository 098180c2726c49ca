#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"

namespace tunefleet::agent {

using GangId = std::pair<std::string, int64_t>;  ///< job, attempt

/// What a gang's slots on this agent are used for; the wire's GangRole.
enum class SlotUse { kLead, kMember, kReserved };

/// Who has this agent's slots. A value: no clock, no socket, no process. Times are of any clock
/// that only goes forward.
///
///   (nothing) --reserve--> kReserved --lead----> kLead   --end--> (nothing)
///       |                    |   ^----join---> kMember --end--> (nothing)
///       |                    +--release, expire--> (nothing)
///       +--lead (slots are free)--> kLead
///
/// A gang's reservation of an older attempt goes when a newer one is reserved or led.
class SlotLedger {
 public:
  struct Entry {
    int ranks = 0;
    SlotUse use = SlotUse::kReserved;
    int64_t expires_ms = 0;  ///< Of a reservation; 0 otherwise.
  };

  explicit SlotLedger(int slots) : slots_(slots) {}

  /// Keeps `ranks` slots for `ttl_ms` more. Again: the time starts anew. Nothing changes for a gang
  /// that runs. kInvalidArgument: no ranks; kResourceExhausted: not enough free slots, with the
  /// numbers.
  Status reserve(const GangId& gang, int ranks, int64_t now_ms, int64_t ttl_ms);
  /// Ends a reservation; false when there is none (the gang runs, or is not known).
  bool release(const GangId& gang);
  /// Takes the slots to start the gang here, reserved before or not. Same errors as reserve().
  Status lead(const GangId& gang, int ranks);
  /// Turns the reservation into ranks another agent leads. kNotFound: nothing is reserved.
  Status join(const GangId& gang);
  /// The gang is over here.
  void end(const GangId& gang) { entries_.erase(gang); }
  /// Ends the reservations whose time is over, and names them.
  std::vector<GangId> expire(int64_t now_ms);

  int used() const;
  int free() const { return slots_ - used(); }
  const std::map<GangId, Entry>& entries() const { return entries_; }

 private:
  /// Whether `gang` could have `ranks` slots, its own and superseded reservations counted as free.
  Status enough_for(const GangId& gang, int ranks) const;
  void take(const GangId& gang, const Entry& entry);

  int slots_;
  std::map<GangId, Entry> entries_;
};

}  // namespace tunefleet::agent

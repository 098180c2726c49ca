#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "coordinator/scheduler/reservation.h"

namespace tunefleet::coordinator {

/// Estimates when waiting jobs start: one after the other in their order, each at its smallest,
/// when so many slots of the whole fleet are free. Which agents they are on is left out, and so
/// are back-fill and jobs yet to come.
class StartEstimate {
 public:
  /// `free_slots`: after the plan's starts.
  StartEstimate(int64_t now_ms, int64_t free_slots, const std::vector<Release>& releases);

  /// When the next job in line starts; it then takes its slots. 0: unknown.
  int64_t next(int64_t ranks, int64_t expected_ms);
  /// Nothing after this starts earlier.
  void not_before(int64_t at_ms);

 private:
  using Ending = std::pair<int64_t, int64_t>;  ///< When, how many slots.
  void end_one();

  int64_t now_ms_;
  int64_t clock_ms_;
  int64_t free_slots_;
  std::priority_queue<Ending, std::vector<Ending>, std::greater<>> endings_;
};

}  // namespace tunefleet::coordinator

#include "coordinator/scheduler/start_estimate.h"

#include <algorithm>

namespace tunefleet::coordinator {

StartEstimate::StartEstimate(int64_t now_ms, int64_t free_slots,
                             const std::vector<Release>& releases)
    : now_ms_(now_ms), clock_ms_(now_ms), free_slots_(free_slots) {
  std::vector<Ending> endings;
  endings.reserve(releases.size());
  for (const auto& release : releases) {
    int64_t ranks = 0;
    for (const Seat& seat : *release.seats) ranks += seat.ranks;
    endings.emplace_back(release.at_ms, ranks);
  }
  endings_ = decltype(endings_)(std::greater<>(), std::move(endings));
}

int64_t StartEstimate::next(int64_t ranks, int64_t expected_ms) {
  while (free_slots_ < ranks && !endings_.empty()) end_one();
  if (free_slots_ < ranks) {
    clock_ms_ = kNever;
    return 0;
  }
  if (clock_ms_ == kNever) return 0;
  free_slots_ -= ranks;
  if (expected_ms > 0) endings_.emplace(clock_ms_ + expected_ms, ranks);
  return clock_ms_ > now_ms_ ? clock_ms_ : 0;
}

void StartEstimate::not_before(int64_t at_ms) { clock_ms_ = std::max(clock_ms_, at_ms); }

void StartEstimate::end_one() {
  clock_ms_ = std::max(clock_ms_, endings_.top().first);
  free_slots_ += endings_.top().second;
  endings_.pop();
}

}  // namespace tunefleet::coordinator

#include "tests/coordinator/simulate/crowd.h"

#include <algorithm>

namespace tunefleet::simulate {
namespace {

constexpr int64_t kShortest = 10, kLongest = 50, kWidest = 2;
constexpr double kOverload = 1.5;
/// Gangs leave slots empty, and starts and ends take their time: what slots do of their work.
constexpr int64_t kWaste = 3;
constexpr int64_t kLongestEndMs = 120'000;  ///< Of what runs when it has become the head.

}  // namespace

std::vector<CrowdJob> Crowd::next() {
  const int64_t widest = std::min(kWidest, slots_);
  const double work =
      static_cast<double>(kShortest + kLongest) / 2 * (1.0 + static_cast<double>(widest)) / 2;
  double wanted = kOverload * static_cast<double>(slots_) / work;
  std::vector<CrowdJob> jobs;
  for (; draws_.chance(wanted); wanted -= 1.0) {
    jobs.push_back(
        {.ranks = draws_.between(1, widest), .length = draws_.between(kShortest, kLongest)});
  }
  return jobs;
}

Patience::Patience(int64_t begun_ms, int64_t slots, int64_t points, double ageing_per_hour)
    : slots_(slots),
      overtaken_ms_(begun_ms + static_cast<int64_t>(static_cast<double>(points + 1) * 3'600'000 /
                                                    ageing_per_hour)) {}

void Patience::queued(int64_t now_ms, int64_t work) {
  if (now_ms < overtaken_ms_) work_ += work;
}

int64_t Patience::until_ms() const {
  return overtaken_ms_ + kWaste * work_ * 1'000 / slots_ + kLongestEndMs;
}

}  // namespace tunefleet::simulate

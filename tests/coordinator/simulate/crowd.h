#pragma once

#include <cstdint>
#include <vector>

#include "tests/coordinator/simulate/sim_random.h"

namespace tunefleet::simulate {

/// A narrow job of the crowd.
struct CrowdJob {
  int64_t ranks = 1;
  int64_t length = 1;  ///< Seconds that it runs.
};

/// Jobs that keep coming, half as many again as a fleet of `slots` can do.
class Crowd {
 public:
  Crowd(uint64_t seed, int64_t slots) : draws_(seed, 4), slots_(slots) {}
  /// Those of the next second.
  std::vector<CrowdJob> next();

 private:
  Draws draws_;
  int64_t slots_;
};

/// How long a job may wait among others of at most `points` more priority, once nothing fails.
///
/// It gains a point each hour / ageing: a job that is queued `points` + 1 points later stands
/// behind it for good (a whole point more, since classes are whole). What was queued before may all
/// go first; then it is the head, and nothing may start that delays it, so that it starts when what
/// runs has ended. Its tenant has nothing else, so it always ages.
class Patience {
 public:
  Patience(int64_t begun_ms, int64_t slots, int64_t points, double ageing_per_hour);

  /// Another job that may be looked at first if it was queued now. Slots x seconds.
  void queued(int64_t now_ms, int64_t work);
  int64_t until_ms() const;

 private:
  int64_t slots_;
  int64_t overtaken_ms_;  ///< What is queued from then on stands behind.
  int64_t work_ = 0;
};

}  // namespace tunefleet::simulate

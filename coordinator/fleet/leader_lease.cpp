#include "coordinator/fleet/leader_lease.h"

#include <fmt/format.h>

#include <random>
#include <utility>

#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

std::string random_name() {
  std::random_device source;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", source(), source(), source(), source());
}

}  // namespace

LeaderLease::LeaderLease(JobStore& store, std::string place, int64_t ttl_ms)
    : store_(store), place_(std::move(place)), process_(random_name()), ttl_ms_(ttl_ms) {}

bool LeaderLease::keep(int64_t now_ms) {
  if (tried_ms_ != 0 && now_ms - tried_ms_ < ttl_ms_ / 3) return leads();
  tried_ms_ = now_ms;
  const auto leadership = store_.lead(place_, process_, ttl_ms_);
  if (leadership) {
    if (generation_ != leadership->generation) {
      log::info(fmt::format("leading the fleet, generation {}", leadership->generation));
    }
    generation_ = leadership->generation;
    told_.clear();
  } else if (leadership.error().code != ErrorCode::kUnavailable) {
    if (std::exchange(generation_, 0) != 0 || told_.empty()) {
      told_ = leadership.error().message;
      log::info("standing by: " + told_);
    }
  }
  return leads();
}

void LeaderLease::resign() {
  if (std::exchange(generation_, 0) == 0) return;
  if (const auto given = store_.resign(process_); !given) {
    log::warning("the leadership is not given back, it runs out by itself: " +
                 given.error().message);
  }
}

}  // namespace tunefleet::coordinator

#include "coordinator/api/rate_limiter.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kMaxNames = 10'000;
constexpr double kMsPerSecond = 1000.0;

}  // namespace

RateLimiter::RateLimiter(const RateLimit& limit, std::function<int64_t()> now_ms)
    : limit_{.per_second = limit.per_second, .burst = std::max(limit.burst, 1.0)},
      now_ms_(std::move(now_ms)) {}

RateDecision RateLimiter::take(const std::string& name) {
  if (limit_.per_second <= 0) return {};
  const int64_t now = now_ms_();
  const std::lock_guard lock(mutex_);
  Bucket& bucket = bucket_of(name, now);
  bucket = {.tokens = tokens_at(bucket, now), .at_ms = now};
  RateDecision decision{.allowed = bucket.tokens >= 1, .limit = std::llround(limit_.burst)};
  if (decision.allowed) {
    bucket.tokens -= 1;
  } else {
    decision.retry_ms = std::max<int64_t>(ms_until(1 - bucket.tokens), 1);
  }
  decision.remaining = static_cast<int64_t>(bucket.tokens);
  decision.reset_ms = ms_until(limit_.burst - bucket.tokens);
  return decision;
}

/// A name that is not known has a full bucket, so a full bucket may be forgotten.
RateLimiter::Bucket& RateLimiter::bucket_of(const std::string& name, int64_t now) {
  if (const auto found = buckets_.find(name); found != buckets_.end()) return found->second;
  if (buckets_.size() >= kMaxNames) {
    std::erase_if(buckets_,
                  [&](const auto& entry) { return tokens_at(entry.second, now) >= limit_.burst; });
  }
  const std::string& shared = buckets_.size() < kMaxNames ? name : std::string();
  return buckets_.try_emplace(shared, Bucket{.tokens = limit_.burst, .at_ms = now}).first->second;
}

/// A clock that was set back gives nothing and takes nothing.
double RateLimiter::tokens_at(const Bucket& bucket, int64_t now) const {
  const double earned = static_cast<double>(std::max<int64_t>(now - bucket.at_ms, 0)) *
                        limit_.per_second / kMsPerSecond;
  return std::min(bucket.tokens + earned, limit_.burst);
}

int64_t RateLimiter::ms_until(double missing) const {
  return static_cast<int64_t>(std::ceil(missing * kMsPerSecond / limit_.per_second));
}

}  // namespace tunefleet::coordinator

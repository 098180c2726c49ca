#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>

namespace tunefleet::coordinator {

/// So many per second in the long run, and at most `burst` at once.
struct RateLimit {
  double per_second = 0;  ///< 0: no limit.
  double burst = 0;       ///< At least 1 where there is a limit.
};

/// What a limit said about one request.
struct RateDecision {
  bool allowed = true;
  int64_t limit = 0;      ///< The burst; 0: there is no limit.
  int64_t remaining = 0;  ///< Whole requests that may follow at once.
  int64_t retry_ms = 0;   ///< Until one more is allowed; 0 when it was.
  int64_t reset_ms = 0;   ///< Until the whole burst is there again.
};

/// A token bucket for each name: it holds `burst` tokens, a request takes one, `per_second` of them
/// come back. Memory is bounded: past 10,000 names those that have nothing to remember are
/// forgotten, and further ones share one bucket. Any thread.
class RateLimiter {
 public:
  RateLimiter(const RateLimit& limit, std::function<int64_t()> now_ms);

  /// Takes a token of `name` if there is one.
  RateDecision take(const std::string& name);

 private:
  struct Bucket {
    double tokens = 0;
    int64_t at_ms = 0;
  };

  Bucket& bucket_of(const std::string& name, int64_t now);
  double tokens_at(const Bucket& bucket, int64_t now) const;
  int64_t ms_until(double missing) const;

  const RateLimit limit_;
  const std::function<int64_t()> now_ms_;
  std::mutex mutex_;
  std::unordered_map<std::string, Bucket> buckets_;  ///< Guarded by mutex_.
};

}  // namespace tunefleet::coordinator

#include "coordinator/api/rate_limiter.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

class RateLimiterTest : public testing::Test {
 protected:
  RateLimiter limiter(double per_second, double burst) {
    return RateLimiter({.per_second = per_second, .burst = burst}, [this] { return now_ms_; });
  }
  int64_t now_ms_ = 1'000'000;
};

TEST_F(RateLimiterTest, AllowsABurstAndThenItsRate) {
  RateLimiter limit = limiter(10, 3);
  for (int64_t left = 2; left >= 0; --left) {
    const RateDecision decision = limit.take("a");
    EXPECT_TRUE(decision.allowed);
    EXPECT_EQ(decision.limit, 3);
    EXPECT_EQ(decision.remaining, left);
  }
  const RateDecision refused = limit.take("a");
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(refused.retry_ms, 100);
  EXPECT_EQ(refused.reset_ms, 300);
  now_ms_ += refused.retry_ms - 1;
  EXPECT_FALSE(limit.take("a").allowed);
  now_ms_ += 1;
  EXPECT_TRUE(limit.take("a").allowed);
}

/// The law of a token bucket: in any time t at most burst + rate * t are let through.
TEST_F(RateLimiterTest, LetsNoMoreThroughThanBurstAndRate) {
  RateLimiter limit = limiter(50, 20);
  int64_t allowed = 0;
  for (int step = 0; step < 2'000; ++step) {
    allowed += limit.take("a").allowed ? 1 : 0;
    now_ms_ += 5;
  }
  EXPECT_LE(allowed, 20 + 50 * 10);
  EXPECT_GE(allowed, 50 * 10);
}

TEST_F(RateLimiterTest, KeepsNamesApart) {
  RateLimiter limit = limiter(1, 1);
  EXPECT_TRUE(limit.take("a").allowed);
  EXPECT_FALSE(limit.take("a").allowed);
  EXPECT_TRUE(limit.take("b").allowed);
}

TEST_F(RateLimiterTest, NeverRefusesWithoutALimit) {
  RateLimiter limit = limiter(0, 1);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(limit.take("a").allowed);
  EXPECT_EQ(limit.take("a").limit, 0);
}

TEST_F(RateLimiterTest, StandsAClockThatIsSetBack) {
  RateLimiter limit = limiter(1, 2);
  limit.take("a");
  now_ms_ -= 500'000;
  EXPECT_TRUE(limit.take("a").allowed);
  EXPECT_FALSE(limit.take("a").allowed);
  now_ms_ += 1'000;
  EXPECT_TRUE(limit.take("a").allowed);
}

TEST_F(RateLimiterTest, SharesOneBucketAmongMoreNamesThanItRemembers) {
  RateLimiter limit = limiter(1, 1);
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(limit.take("name-" + std::to_string(i)).allowed);
  EXPECT_TRUE(limit.take("late").allowed);
  EXPECT_FALSE(limit.take("later").allowed);
  EXPECT_FALSE(limit.take("name-7").allowed);
  now_ms_ += 1'000;  // All have their token back: there is nothing to remember.
  EXPECT_TRUE(limit.take("x").allowed);
  EXPECT_TRUE(limit.take("y").allowed);
}

}  // namespace
}  // namespace tunefleet::coordinator

#include "coordinator/fleet/leader_lease.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

class LeaderLeaseTest : public testing::Test {
 protected:
  int64_t now_ms_ = 1'000'000;
  std::unique_ptr<JobStore> store_ = make_memory_job_store([this] { return now_ms_; });
};

TEST_F(LeaderLeaseTest, TheSecondTakesOverWhenTheFirstHasStoppedRenewing) {
  LeaderLease first(*store_, "host-a:/data");
  LeaderLease second(*store_, "host-b:/data");
  EXPECT_TRUE(first.keep(now_ms_));
  EXPECT_FALSE(second.keep(now_ms_));
  for (int i = 0; i < 10; ++i) {
    now_ms_ += 1'000;
    EXPECT_TRUE(first.keep(now_ms_));
    EXPECT_FALSE(second.keep(now_ms_));
  }
  now_ms_ += 3'000;
  EXPECT_TRUE(second.keep(now_ms_));
  EXPECT_EQ(second.generation(), 2);
  EXPECT_FALSE(first.keep(now_ms_)) << "it learns so when it renews";
}

TEST_F(LeaderLeaseTest, GivenBackItIsFreeAtOnce) {
  LeaderLease second(*store_, "host-b:/data");
  {
    LeaderLease first(*store_, "host-a:/data");
    ASSERT_TRUE(first.keep(now_ms_));
    ASSERT_FALSE(second.keep(now_ms_));
  }
  now_ms_ += 1'000;
  EXPECT_TRUE(second.keep(now_ms_));
}

TEST_F(LeaderLeaseTest, AProcessOfTheSamePlaceTakesOverAtOnce) {
  LeaderLease killed(*store_, "host-a:/data");
  ASSERT_TRUE(killed.keep(now_ms_));
  LeaderLease next(*store_, "host-a:/data");
  EXPECT_TRUE(next.keep(now_ms_));
  EXPECT_EQ(next.generation(), 2);
}

}  // namespace
}  // namespace tunefleet::coordinator

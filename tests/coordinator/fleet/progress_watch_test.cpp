#include "coordinator/fleet/progress_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

using testing::HasSubstr;

/// Two ranks that take a step a second, and beat each second.
class ProgressWatchTest : public testing::Test {
 protected:
  void beat(int64_t rank, int64_t step, int64_t collectives = 0,
            const std::string& phase = "training") {
    watch_.take({.rank = rank,
                 .host = "host-" + std::to_string(rank),
                 .phase = phase,
                 .step = step,
                 .collectives = collectives},
                now_ms_);
  }
  void train(int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) {
      now_ms_ += 1000;
      beat(0, ++step_);
      beat(1, step_);
    }
  }
  std::optional<HungRank> hung() const { return watch_.hung({}, now_ms_); }

  ProgressWatch watch_;
  int64_t now_ms_ = 0;
  int64_t step_ = 0;
};

TEST_F(ProgressWatchTest, NothingIsSaidBeforeTheFirstBeat) {
  now_ms_ = 1'000'000'000;
  EXPECT_FALSE(hung());
}

TEST_F(ProgressWatchTest, AGangThatStandsStillForTenSecondsHangs) {
  train(50);
  for (int i = 0; i < 10; ++i) {
    now_ms_ += 1000;
    beat(0, step_);
    beat(1, step_);
  }
  EXPECT_FALSE(hung());
  now_ms_ += 1;
  ASSERT_TRUE(hung());
  EXPECT_THAT(hung()->message, HasSubstr("no progress for 10 s at step 50"));
}

TEST_F(ProgressWatchTest, SlowStepsHaveFiveTimesAsLong) {
  for (int i = 0; i < 20; ++i) {
    now_ms_ += 7'000;
    beat(0, ++step_);
  }
  now_ms_ += 35'000;
  EXPECT_FALSE(hung());
  now_ms_ += 1;
  EXPECT_TRUE(hung());
}

TEST_F(ProgressWatchTest, TheRankWhoseBeatsHaveStoppedIsBlamed) {
  train(50);
  for (int i = 0; i < 12; ++i) {
    now_ms_ += 1000;
    beat(0, step_);
  }
  ASSERT_TRUE(hung());
  EXPECT_EQ(hung()->rank, 1);
  EXPECT_EQ(hung()->host, "host-1");
  EXPECT_THAT(hung()->message, HasSubstr("its beats have stopped for 12 s"));
}

TEST_F(ProgressWatchTest, AmongThoseThatBeatTheOneBehindTheOthersIsBlamed) {
  train(50);
  for (int i = 0; i < 12; ++i) {
    now_ms_ += 1000;
    beat(0, step_, 101);
    beat(1, step_, 100);
  }
  ASSERT_TRUE(hung());
  EXPECT_EQ(hung()->rank, 1);
}

TEST_F(ProgressWatchTest, SavingAndLoadingHaveTheirOwnTime) {
  beat(0, 0, 0, "loading");
  now_ms_ += 600'000;
  EXPECT_FALSE(hung());
  train(10);
  now_ms_ += 1000;
  beat(0, step_, 0, "saving");
  now_ms_ += 60'000;
  EXPECT_FALSE(hung());
  beat(0, step_, 0, "finished");
  now_ms_ += 10'000'000;
  EXPECT_FALSE(hung());
}

TEST_F(ProgressWatchTest, ACoordinatorThatStoodStillBlamesNobody) {
  train(50);
  now_ms_ += 60'000;
  watch_.forgive(60'000);
  EXPECT_FALSE(hung());
}

}  // namespace
}  // namespace tunefleet::coordinator

#include "coordinator/sweep/sweep_reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/sweep/sweep_jobs.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::SizeIs;

/// A sweep over nine jobs whose losses follow from their index, on stores in memory. Steps forward
/// by hand.
class SweepReconcilerTest : public testing::Test {
 protected:
  SweepReconcilerTest() {
    SweepRecord sweep{.id = "ftsweep-a", .owner = "ann", .trials = json::array()};
    sweep.plan = to_json(SweepPlan{.metric = "loss",
                                   .halving = Halving{.eta = 3, .min_steps = 10, .max_steps = 90},
                                   .max_parallel = 9});
    for (int i = 0; i < 9; ++i) {
      sweep.trials.push_back({{"values", {{"lora_rank", i}}},
                              {"spec", {{"workers", 1}, {"priority", 3}}},
                              {"request", {{"model", "base"}}}});
    }
    EXPECT_TRUE(sweeps_->create(sweep));
  }

  void look() {
    // A coordinator of its own each time, as after a restart.
    SweepReconciler reconciler(*jobs_, *sweeps_, [this] { ++wakes_; });
    const auto looked = reconciler.look();
    EXPECT_TRUE(looked) << looked.error().message;
  }
  std::string id(size_t trial) const { return trial_job_id("ftsweep-a", trial); }
  JobRecord job(size_t trial) { return jobs_->get(id(trial)).value(); }

  void start(size_t trial) {
    ASSERT_TRUE(jobs_->transition(id(trial), 0, JobPhase::kQueued, JobPhase::kRunning,
                                  {.placement = Placement{{"node", 1}}}));
  }
  /// What a trainer tells at `step`.
  void tell(size_t trial, int64_t step, const json& loss) {
    JobEventRecord event{.level = "info", .type = "metrics", .message = "step"};
    event.data = {{"loss", loss}, {"global_step/max_steps", std::to_string(step) + "/90"}};
    ASSERT_TRUE(jobs_->append_event(id(trial), 1, ++told_, event));
  }
  void end(size_t trial, JobPhase phase) {
    ASSERT_TRUE(jobs_->transition(id(trial), 1, JobPhase::kRunning, phase, {}));
  }
  SweepPhase phase() { return sweeps_->get("ftsweep-a")->phase; }

  std::unique_ptr<JobStore> jobs_ = make_memory_job_store([] { return 1'000; });
  std::unique_ptr<SweepStore> sweeps_ = make_memory_sweep_store([] { return 1'000; });
  int wakes_ = 0;
  int64_t told_ = 0;
};

TEST_F(SweepReconcilerTest, MakesEachJobOnceHoweverOftenItLooks) {
  look();
  look();
  const auto jobs = jobs_->in_group("ftsweep-a");
  ASSERT_TRUE(jobs);
  EXPECT_THAT(*jobs, SizeIs(9));
  EXPECT_EQ(job(2).owner, "ann");
  EXPECT_EQ(job(2).priority, 3);
  EXPECT_EQ(job(2).group, "ftsweep-a");
  EXPECT_EQ(wakes_, 1);
}

TEST_F(SweepReconcilerTest, StopsEarlyThenEndsWithTheBest) {
  look();
  for (size_t i = 0; i < 9; ++i) start(i);
  for (size_t i = 0; i < 9; ++i) tell(i, 10, 1.0 + static_cast<double>((i * 4) % 9));
  look();
  // Losses 1 5 9 4 8 3 7 2 6: the best three are 0, 7 and 5.
  for (size_t i = 0; i < 9; ++i)
    EXPECT_EQ(job(i).cancel_requested(), i != 0 && i != 5 && i != 7) << i;
  EXPECT_EQ(job(2).stop, StopReason::kSweep);
  const auto events = jobs_->events_before(id(2), 0, 1);
  ASSERT_TRUE(events);
  EXPECT_EQ(events->events.at(0).message,
            "stopped by sweep ftsweep-a: behind at step 10, rank 9 of 9");
  for (size_t i = 0; i < 9; ++i) {
    if (job(i).cancel_requested()) end(i, JobPhase::kCancelled);
  }
  tell(0, 30, 0.9);
  tell(5, 30, 0.5);
  tell(7, 30, 0.7);
  look();
  EXPECT_FALSE(job(5).cancel_requested());
  EXPECT_TRUE(job(0).cancel_requested());
  EXPECT_TRUE(job(7).cancel_requested());
  end(0, JobPhase::kCancelled);
  end(7, JobPhase::kCancelled);
  tell(5, 90, 0.1);
  end(5, JobPhase::kSucceeded);
  look();
  EXPECT_EQ(phase(), SweepPhase::kSucceeded);
  EXPECT_EQ(sweeps_->get("ftsweep-a")->finished_at_ms, 1'000);
  EXPECT_TRUE(sweeps_->unfinished()->empty());
}

TEST_F(SweepReconcilerTest, ALossThatWasNoNumberIsTheWorst) {
  look();
  for (size_t i = 0; i < 3; ++i) start(i);
  tell(0, 10, nullptr);
  tell(1, 10, 100.0);
  tell(2, 10, 99.0);
  look();
  EXPECT_TRUE(job(0).cancel_requested());
  EXPECT_FALSE(job(2).cancel_requested());
}

TEST_F(SweepReconcilerTest, CancellingStopsEveryJob) {
  look();
  start(0);
  ASSERT_TRUE(sweeps_->move("ftsweep-a", SweepPhase::kCancelling));
  look();
  EXPECT_TRUE(job(0).cancel_requested());
  EXPECT_EQ(job(0).stop, StopReason::kCancel) << "the user's doing, not the sweep's";
  EXPECT_EQ(job(8).phase, JobPhase::kCancelled);
  EXPECT_EQ(phase(), SweepPhase::kCancelling);
  end(0, JobPhase::kCancelled);
  look();
  EXPECT_EQ(phase(), SweepPhase::kCancelled);
}

TEST_F(SweepReconcilerTest, OneUnreadableSweepDoesNotHoldUpTheOthers) {
  SweepRecord broken{.id = "ftsweep-b", .owner = "bob"};
  broken.plan = {{"metric", 7}};
  broken.trials = json::array();
  ASSERT_TRUE(sweeps_->create(broken));
  SweepRecord after{.id = "ftsweep-c", .owner = "bob"};
  after.plan = to_json(SweepPlan{});
  const json trial = {{"values", json::object()}, {"spec", {{"workers", 1}}}, {"request", nullptr}};
  after.trials = json::array({trial});
  ASSERT_TRUE(sweeps_->create(after));
  SweepReconciler reconciler(*jobs_, *sweeps_, [] {});
  const auto looked = reconciler.look();
  ASSERT_FALSE(looked);
  EXPECT_THAT(looked.error().message, HasSubstr("ftsweep-b"));
  EXPECT_TRUE(jobs_->get(trial_job_id("ftsweep-c", 0)));
}

}  // namespace
}  // namespace tunefleet::coordinator

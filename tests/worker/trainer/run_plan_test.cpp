#include "worker/trainer/run_plan.h"

#include <gtest/gtest.h>

#include "worker/trainer/training_log.h"

namespace tunefleet::trainer {
namespace {

TEST(RunPlanTest, AccumulatesToSixteenRowsUnlessToldOtherwise) {
  JobSpec spec;
  EXPECT_EQ(make_run_plan(spec, 100, 1).accumulation, 16);
  EXPECT_EQ(make_run_plan(spec, 100, 2).accumulation, 8);
  EXPECT_EQ(make_run_plan(spec, 100, 3).accumulation, 6);
  EXPECT_EQ(make_run_plan(spec, 100, 64).accumulation, 1);
  spec.gradient_accumulation_steps = 3;
  spec.per_device_train_batch_size = 2;
  EXPECT_EQ(make_run_plan(spec, 100, 2).batch_total, 12);
}

TEST(RunPlanTest, EpochsBecomeStepsAndMaxStepsWins) {
  JobSpec spec;
  spec.gradient_accumulation_steps = 1;
  spec.per_device_train_batch_size = 4;
  spec.num_train_epochs = 2.0;
  EXPECT_EQ(make_run_plan(spec, 10, 1).steps_per_epoch, 3);
  EXPECT_EQ(make_run_plan(spec, 10, 1).max_steps, 6);
  spec.num_train_epochs = 0.1;
  EXPECT_EQ(make_run_plan(spec, 10, 1).max_steps, 1);
  spec.max_steps = 77;
  EXPECT_EQ(make_run_plan(spec, 10, 1).max_steps, 77);
}

TEST(RunPlanTest, EvaluationFollowsSaving) {
  JobSpec spec;
  spec.gradient_accumulation_steps = 1;
  EXPECT_EQ(make_run_plan(spec, 10, 1).save_every, 500);
  EXPECT_EQ(make_run_plan(spec, 10, 1).evaluate_every, 500);
  spec.save_strategy = "epoch";
  EXPECT_EQ(make_run_plan(spec, 10, 1).save_every, 10);
  EXPECT_EQ(make_run_plan(spec, 10, 1).evaluate_every, 10);
  spec.save_strategy = "no";
  spec.eval_strategy = "steps";
  spec.eval_steps = 3;
  EXPECT_EQ(make_run_plan(spec, 10, 1).save_every, 0);
  EXPECT_EQ(make_run_plan(spec, 10, 1).evaluate_every, 3);
}

TEST(RunPlanTest, WarmUpAsRatioOrSteps) {
  JobSpec spec;
  spec.max_steps = 50;
  spec.warmup_ratio = 0.05;
  EXPECT_EQ(make_run_plan(spec, 10, 1).schedule.warmup_steps, 3.0);
  spec.warmup_steps = 7;
  EXPECT_EQ(make_run_plan(spec, 10, 1).schedule.warmup_steps, 7.0);
}

TEST(DurationTextTest, IsForPeople) {
  EXPECT_EQ(duration_text(0.4), "0s");
  EXPECT_EQ(duration_text(61.0), "1m 1s");
  EXPECT_EQ(duration_text(3725.0), "1h 2m 5s");
}

}  // namespace
}  // namespace tunefleet::trainer

#include "coordinator/forecast/step_forecast.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kLimit = 8192;

JobSpec job() {
  JobSpec spec;
  spec.dataset = {"d"};
  spec.num_train_epochs = 2;
  spec.gradient_accumulation_steps = 2;
  return spec;
}

TEST(StepForecast, IsExactWhenEveryRowFits) {
  const auto steps = forecast_steps(job(), 101, 1000, kLimit);
  EXPECT_EQ(steps.count.steps_per_epoch, 51);
  EXPECT_EQ(steps.count.max_steps, 102);
  EXPECT_EQ(steps.bound, Bound::kExact);
  EXPECT_EQ(steps.note, "");
}

TEST(StepForecast, CountsTheRowsOfEveryRank) {
  JobSpec spec = job();
  spec.workers = {1, 4};
  spec.per_device_train_batch_size = 3;
  EXPECT_EQ(forecast_steps(spec, 240, 10, kLimit).count.batch_total, 24);
  EXPECT_EQ(forecast_steps(spec, 240, 10, kLimit).count.max_steps, 20);
}

TEST(StepForecast, TakesTheHeldOutRowsAway) {
  JobSpec spec = job();
  spec.split_dataset_ratio = 0.1;
  EXPECT_EQ(forecast_steps(spec, 100, 10, kLimit).rows, 90);
  spec.split_dataset_ratio = 0.001;
  EXPECT_EQ(forecast_steps(spec, 100, 10, kLimit).rows, 99);
  spec.val_dataset = {"v"};
  EXPECT_EQ(forecast_steps(spec, 100, 10, kLimit).rows, 100);
}

TEST(StepForecast, SaysWhenLongRowsMayBeLeftOutOrCutUp) {
  JobSpec spec = job();
  spec.max_length = 600;
  EXPECT_EQ(forecast_steps(spec, 100, 80, kLimit).bound, Bound::kExact);
  EXPECT_EQ(forecast_steps(spec, 100, 200, kLimit).bound, Bound::kUpper);
  EXPECT_EQ(forecast_steps(spec, 100, {}, kLimit).bound, Bound::kUpper);
  EXPECT_NE(forecast_steps(spec, 100, 200, kLimit).note.find("600"), std::string::npos);
  spec.truncation_strategy = "split";
  EXPECT_EQ(forecast_steps(spec, 100, 200, kLimit).bound, Bound::kLower);
  spec.truncation_strategy = "left";
  EXPECT_EQ(forecast_steps(spec, 100, 200, kLimit).bound, Bound::kExact);
  spec.packing = true;
  EXPECT_EQ(forecast_steps(spec, 100, 80, kLimit).bound, Bound::kUpper);
}

TEST(StepForecast, GivenStepsAreExactWhateverTheRows) {
  JobSpec spec = job();
  spec.packing = true;
  spec.max_steps = 7;
  EXPECT_EQ(forecast_steps(spec, 100, {}, kLimit).count.max_steps, 7);
  EXPECT_EQ(forecast_steps(spec, 100, {}, kLimit).bound, Bound::kExact);
  spec.max_minutes = 1;
  EXPECT_EQ(forecast_steps(spec, 100, {}, kLimit).bound, Bound::kUpper);
}

}  // namespace
}  // namespace tunefleet::coordinator

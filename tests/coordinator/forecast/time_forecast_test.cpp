#include "coordinator/forecast/time_forecast.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

json spec_of(const std::string& tuner, json more = json::object()) {
  json spec = {{"model", "/m/base"},
               {"tuner_type", tuner},
               {"torch_dtype", nullptr},
               {"per_device_train_batch_size", 2},
               {"gradient_accumulation_steps", 4},
               {"tuners", json::object()}};
  spec.update(more);
  return spec;
}

JobRecord finished(const json& spec, int64_t steps, int64_t device_ms, int64_t created_at_ms = 1) {
  return {.phase = JobPhase::kSucceeded,
          .device_ms = device_ms,
          .created_at_ms = created_at_ms,
          .spec = spec,
          .result = {{"step", steps}}};
}

TEST(TimeForecast, IsTheTimeOfAllJobsAlikeOverTheirRows) {
  const json lora = spec_of("lora");
  // Ten and thirty steps of eight rows: the longer run counts more.
  const auto speed =
      speed_of_jobs_like(lora, {finished(lora, 10, 32'000), finished(lora, 30, 48'000)});
  EXPECT_EQ(speed.jobs, 2);
  EXPECT_DOUBLE_EQ(speed.device_s_per_row, 80.0 / 320.0);
}

TEST(TimeForecast, LooksAtNoOtherModelTunerMethodOrNumberFormat) {
  const json lora = spec_of("lora");
  JobRecord failed = finished(lora, 10, 8'000);
  failed.phase = JobPhase::kFailed;
  EXPECT_EQ(
      speed_of_jobs_like(lora, {finished(spec_of("ia3"), 10, 8'000),
                                finished(spec_of("lora", {{"model", "/m/other"}}), 10, 8'000),
                                finished(spec_of("lora", {{"torch_dtype", "bfloat16"}}), 10, 8'000),
                                finished(spec_of("lora", {{"rlhf_type", "dpo"}}), 10, 8'000),
                                finished(lora, 0, 8'000), failed})
          .jobs,
      0);
}

TEST(TimeForecast, TunersByNameAreComparedByType) {
  const json two =
      spec_of("lora", {{"tuners", {{"a", {{"type", "lora"}}}, {"b", {{"type", "ia3"}}}}}});
  const json renamed =
      spec_of("lora", {{"tuners", {{"x", {{"type", "lora"}}}, {"y", {{"type", "ia3"}}}}}});
  EXPECT_EQ(speed_of_jobs_like(two, {finished(renamed, 1, 8)}).jobs, 1);
  EXPECT_EQ(speed_of_jobs_like(two, {finished(spec_of("lora"), 1, 8)}).jobs, 0);
}

TEST(TimeForecast, TheNewestTwentyCount) {
  const json lora = spec_of("lora");
  std::vector<JobRecord> jobs;
  for (int64_t i = 0; i < 60; ++i)
    jobs.push_back(finished(lora, 1, i < 40 ? 800'000 : 8'000, i + 1));
  EXPECT_EQ(speed_of_jobs_like(lora, jobs).jobs, 20);
  EXPECT_DOUBLE_EQ(speed_of_jobs_like(lora, jobs).device_s_per_row, 1.0);
}

}  // namespace
}  // namespace tunefleet::coordinator

#include "worker/trainer/schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace tunefleet::trainer {
namespace {

TEST(ScheduleTest, RatesAreThoseOfTransformers) {
  std::ifstream in("tests/worker/trainer/schedules.json");
  const auto cases = nlohmann::json::parse(in);
  ASSERT_EQ(cases.size(), 15U);
  for (const auto& entry : cases) {
    const Schedule schedule{entry["type"], 2e-3, entry["warmup"], entry["total"]};
    const auto& rates = entry["rates"];
    for (size_t step = 0; step < rates.size(); ++step) {
      EXPECT_NEAR(schedule.at(static_cast<double>(step)), rates[step].get<double>(), 1e-12)
          << entry["type"] << " warm-up " << entry["warmup"] << " of " << entry["total"]
          << ", step " << step;
    }
  }
}

TEST(ScheduleTest, NeverLeavesItsBounds) {
  for (const char* type : {"linear", "cosine", "constant"}) {
    const Schedule schedule{type, 1.0, 5.0, 20.0};
    for (double step = 0.0; step < 40.0; step += 0.25) {
      EXPECT_GE(schedule.at(step), 0.0) << type << " at " << step;
      EXPECT_LE(schedule.at(step), 1.0) << type << " at " << step;
    }
  }
  EXPECT_THROW(Schedule({.type = "stairs"}).at(0.0), std::invalid_argument);
}

}  // namespace
}  // namespace tunefleet::trainer

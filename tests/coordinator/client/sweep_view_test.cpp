#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "coordinator/client/sweep_command.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

TEST(SweepText, ShowsTheJobsAndTheBest) {
  const json first = {
      {"index", 0},         {"job", "ftjob-a"}, {"values", {{"learning_rate", 1e-4}}},
      {"state", "running"}, {"step", 30},       {"metric", 2.5}};
  const json second = {
      {"index", 1},         {"job", nullptr},  {"values", {{"learning_rate", 3e-4}}},
      {"state", "waiting"}, {"step", nullptr}, {"metric", nullptr}};
  json sweep = {{"id", "ftsweep-x"},
                {"status", "running"},
                {"model", "base"},
                {"metric", "loss"},
                {"job_count", 2},
                {"best", first},
                {"jobs", json::array({first, second})}};
  const std::string text = sweep_text(sweep);
  EXPECT_THAT(text, HasSubstr("ftsweep-x running: base in 2 jobs by loss"));
  EXPECT_THAT(text, HasSubstr("ftjob-a  running  30    2.5000  learning_rate=0.0001"));
  EXPECT_THAT(text, HasSubstr("best so far: ftjob-a with learning_rate=0.0001, 2.5000 at step 30"));
  sweep["best"] = nullptr;
  EXPECT_THAT(sweep_text(sweep), Not(HasSubstr("best so far")));
}

}  // namespace
}  // namespace tunefleet::coordinator

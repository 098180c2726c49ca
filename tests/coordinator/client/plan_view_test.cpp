#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "coordinator/client/plan_command.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json known() {
  return {
      {"model", "base"},
      {"trainable",
       {{"total", 2442240}, {"of", 134515008}, {"tuners", json::array()}, {"unknown", nullptr}}},
      {"steps",
       {{"total", 12},
        {"rows", 90},
        {"rows_per_step", 16},
        {"bound", "upper"},
        {"note", "packing joins short rows"}}},
      {"memory",
       {{"per_rank", 1 << 30}, {"parts", {{"weights", 512 << 20}}}, {"note", "for rows"}}},
      {"time", {{"seconds", 90.0}, {"device_hours", 0.05}, {"jobs", 1}}},
      {"start", {{"now", true}, {"placement", json::array({json::array({"node-a", 2})})}}}};
}

TEST(PlanText, TellsWhatIsKnown) {
  const std::string text = plan_text(known());
  EXPECT_THAT(text, HasSubstr("2,442,240 of 134,515,008 numbers (1.82 %)"));
  EXPECT_THAT(text, HasSubstr("at most 12 of 16 rows each; 90 rows; packing joins short rows"));
  EXPECT_THAT(text, HasSubstr("about 1.0 GiB a rank"));
  EXPECT_THAT(text, HasSubstr("weights 512.0 MiB"));
  EXPECT_THAT(text, HasSubstr("about 1m30s, 0.05 device-hours, as 1 finished job went"));
  EXPECT_THAT(text, HasSubstr("at once: 2 on node-a"));
}

TEST(PlanText, SaysWhyAThingIsNotKnown) {
  json plan = known();
  plan["trainable"] = {{"total", nullptr}, {"of", 1}, {"unknown", "the trainer alone knows"}};
  plan["time"] = {{"seconds", nullptr}, {"unknown", "no job of yours"}};
  plan["start"] = {{"now", false},
                   {"queue_position", 3},
                   {"pending_reason", "waiting for 2 slots"},
                   {"estimated_start", nullptr}};
  const std::string text = plan_text(plan);
  EXPECT_THAT(text, HasSubstr("unknown: the trainer alone knows"));
  EXPECT_THAT(text, HasSubstr("unknown: no job of yours"));
  EXPECT_THAT(text, HasSubstr("it would wait as #3, nobody can know when: waiting for 2 slots"));
}

}  // namespace
}  // namespace tunefleet::coordinator

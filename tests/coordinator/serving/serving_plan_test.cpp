#include "coordinator/serving/serving_plan.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

TEST(ServingPlanTest, NothingIsDoneWhenNobodyWaits) {
  EXPECT_EQ(next_serving_step({{"a", false}}, {}, 1), std::nullopt);
  EXPECT_EQ(next_serving_step({}, {}, 1), std::nullopt);
}

TEST(ServingPlanTest, ABaseWithoutServerGetsOne) {
  EXPECT_EQ(next_serving_step({}, {"a"}, 1), ServingStep(StartServer{"a"}));
  EXPECT_EQ(next_serving_step({{"a", true}}, {"b"}, 2), ServingStep(StartServer{"b"}));
}

TEST(ServingPlanTest, AFreeServerTakesTheFirstOfItsBase) {
  EXPECT_EQ(next_serving_step({{"a", false}}, {"a", "a"}, 1), ServingStep(AdmitWaiting{0}));
  EXPECT_EQ(next_serving_step({{"a", true}, {"b", false}}, {"a", "b", "b"}, 2),
            ServingStep(AdmitWaiting{1}));
}

TEST(ServingPlanTest, AFullHouseEndsTheFreeServerUnusedForTheLongestTime) {
  EXPECT_EQ(next_serving_step({{"a", true}, {"b", false}, {"c", false}}, {"d"}, 3),
            ServingStep(EndServer{"b"}));
}

TEST(ServingPlanTest, AllBusyMeansWaiting) {
  EXPECT_EQ(next_serving_step({{"a", true}}, {"a"}, 1), std::nullopt);
  EXPECT_EQ(next_serving_step({{"a", true}}, {"b", "a"}, 1), std::nullopt);
}

TEST(ServingPlanTest, NobodyOvertakesWhoNeedsAnothersPlace) {
  EXPECT_EQ(next_serving_step({{"a", false}}, {"b", "a"}, 1), ServingStep(EndServer{"a"}));
}

TEST(ServingPlanTest, NoPlaceAtAllMeansWaiting) {
  EXPECT_EQ(next_serving_step({}, {"a"}, 0), std::nullopt);
}

}  // namespace
}  // namespace tunefleet::coordinator

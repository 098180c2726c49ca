#include "coordinator/webhooks/delivery_schedule.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

TEST(DeliveryScheduleTest, WaitsLongerEachTimeAndEndsAfterTwoDays) {
  int64_t now_ms = 0;
  int64_t last_pause = 0;
  int64_t attempts = 1;
  for (auto next = next_attempt_ms(attempts, now_ms); next;
       next = next_attempt_ms(++attempts, now_ms)) {
    EXPECT_GT(*next - now_ms, last_pause);
    last_pause = *next - now_ms;
    now_ms = *next;
  }
  EXPECT_EQ(attempts, 10);
  EXPECT_EQ(next_attempt_ms(1, 0), 5'000);
  EXPECT_EQ(next_attempt_ms(2, 0), 30'000);
  EXPECT_EQ(last_pause, 24 * 3'600'000);
  EXPECT_GT(now_ms, 46 * 3'600'000);
  EXPECT_LT(now_ms, 48 * 3'600'000);
}

WebhookDelivery waiting_for(const std::string& id, const std::string& owner, int64_t due_ms) {
  return {.id = id, .owner = owner, .next_attempt_ms = due_ms};
}

TEST(DeliveryScheduleTest, TakesTheLongestOverdueOfOwnersWithNoneUnderWay) {
  const std::map<std::string, WebhookDelivery> waiting{{"a", waiting_for("a", "ann", 10)},
                                                       {"b", waiting_for("b", "ann", 5)},
                                                       {"c", waiting_for("c", "bob", 7)},
                                                       {"d", waiting_for("d", "bob", 30)}};
  EXPECT_EQ(next_delivery(waiting, {}, 20), "b");
  EXPECT_EQ(next_delivery(waiting, {"ann"}, 20), "c");
  EXPECT_EQ(next_delivery(waiting, {"ann", "bob"}, 20), "");
  EXPECT_EQ(next_delivery(waiting, {}, 4), "");
  EXPECT_EQ(next_delivery(waiting, {}, 5), "b");
  EXPECT_EQ(next_delivery({}, {}, 20), "");
}

}  // namespace
}  // namespace tunefleet::coordinator

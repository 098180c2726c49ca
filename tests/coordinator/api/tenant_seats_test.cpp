#include "coordinator/api/tenant_seats.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace tunefleet::coordinator {
namespace {

TEST(TenantSeats, AreCountedForEachTenantByItself) {
  TenantSeats seats(2);
  auto first = seats.take("a");
  const auto second = seats.take("a");
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(seats.take("a"));
  EXPECT_TRUE(seats.take("b"));
  const auto copy = first;
  first.reset();
  EXPECT_FALSE(seats.take("a")) << "a copy holds it";
}

TEST(TenantSeats, AreGivenBack) {
  TenantSeats seats(1);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(seats.take("a")) << i;
}

TEST(TenantSeats, MayOutliveTheirTable) {
  std::optional<TenantSeats> seats(std::in_place, 1);
  auto held = seats->take("a");
  seats.reset();
  held.reset();
}

TEST(TenantSeats, AreFreeWithoutALimit) {
  TenantSeats seats(0);
  std::vector<std::shared_ptr<void>> held;
  for (int i = 0; i < 1000; ++i) held.push_back(seats.take("a"));
  EXPECT_TRUE(held.back());
}

}  // namespace
}  // namespace tunefleet::coordinator

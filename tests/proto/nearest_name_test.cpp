#include "proto/nearest_name.h"

#include <gtest/gtest.h>

namespace tunefleet {
namespace {

TEST(EditDistance, CountsEditsAndSwapsAsOne) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("lora_rnak", "lora_rank"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(EditDistance, IgnoresCaseAndDashes) { EXPECT_EQ(edit_distance("LoRA-Rank", "lora_rank"), 0U); }

TEST(EditDistance, IsSymmetric) {
  for (const auto* a : {"", "a", "abcd", "workers", "weight_decay"}) {
    for (const auto* b : {"", "b", "acbd", "worker", "warmup_ratio"}) {
      EXPECT_EQ(edit_distance(a, b), edit_distance(b, a)) << a << " " << b;
    }
  }
}

TEST(NearestName, IsTheFirstOfTheNearestWithinAThird) {
  EXPECT_EQ(nearest_name("worker", {"workers", "work"}), "workers");
  EXPECT_EQ(nearest_name("seeds", {"seed", "needs"}), "seed");
  EXPECT_EQ(nearest_name("zzzz", {"workers", "work"}), std::nullopt);
  EXPECT_EQ(nearest_name("x", {}), std::nullopt);
  EXPECT_EQ(nearest_name(std::string_view(), {"workers"}), std::nullopt);
}

}  // namespace
}  // namespace tunefleet

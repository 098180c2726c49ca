#include "tuners/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace tunefleet::tuners {
namespace {

TEST(RandomStreamTest, TheSameSeedAndStreamDrawTheSame) {
  RandomStream a(7, stream_id("model.layers.0.q_proj"));
  RandomStream b(7, stream_id("model.layers.0.q_proj"));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
}

TEST(RandomStreamTest, AnotherSeedOrStreamDrawsOther) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (const char* name : {"a", "b", "model.layers.0", "model.layers.1"}) {
      seen.insert(RandomStream(seed, stream_id(name)).next());
    }
  }
  EXPECT_EQ(seen.size(), 200u);
}

TEST(RandomStreamTest, UniformFillsTheUnitInterval) {
  RandomStream stream(1, 2);
  constexpr int kDraws = 100'000;
  double sum = 0.0, squares = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = stream.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(squares / kDraws, 1.0 / 3.0, 0.005);
}

TEST(RandomStreamTest, NormalHasMeanZeroAndVarianceOne) {
  RandomStream stream(3, 4);
  constexpr int kDraws = 100'000;
  double sum = 0.0, squares = 0.0, fourth = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double z = stream.normal();
    ASSERT_TRUE(std::isfinite(z));
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.015);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.02);
  EXPECT_NEAR(fourth / kDraws, 3.0, 0.15);
}

}  // namespace
}  // namespace tunefleet::tuners

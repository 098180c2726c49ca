#include "worker/collective/gradient_sync.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tunefleet::collective {
namespace {

TEST(GradientSyncTest, GradientsOfABackwardPassLandInTheBuffer) {
  const auto group = make_solo_group();
  const auto w = at::ones({2, 3}).requires_grad_(true);
  const auto v = at::ones({4}).requires_grad_(true);
  GradientSync sync({{{"w", w}, {"v", v}}, 0}, *group);
  for (int pass = 0; pass < 2; ++pass) (w.sum() * 2.0 + v.pow(2).sum()).backward();
  sync.all_reduce();
  EXPECT_NEAR(sync.norm(), std::sqrt(6 * 16.0 + 4 * 16.0), 1e-5);
  sync.scale(0.5);
  EXPECT_EQ(w.grad()[0][0].item<float>(), 2.0F);
  sync.zero();
  EXPECT_EQ(sync.norm(), 0.0);
  EXPECT_EQ(v.grad()[0].item<float>(), 0.0F);
}

TEST(GradientSyncTest, AGradientThatLeftTheBufferIsNoticed) {
  const auto group = make_solo_group();
  const auto w = at::ones({2}).requires_grad_(true);
  GradientSync sync({{{"the.path", w}}, 0}, *group);
  w.mutable_grad() = at::zeros({2});
  try {
    sync.all_reduce();
    FAIL() << "nothing was thrown";
  } catch (const c10::Error& e) {
    EXPECT_NE(std::string(e.what()).find("the.path"), std::string::npos);
  }
}

TEST(GradientSyncTest, MixedDtypesKeepTheirOwn) {
  const auto group = make_solo_group();
  const auto w = at::ones({2}).requires_grad_(true);
  const auto n = at::ones({3}, at::kBFloat16).requires_grad_(true);
  GradientSync sync({{{"w", w}, {"n", n}}, 0}, *group);
  EXPECT_EQ(sync.bytes(), 2 * 4 + 3 * 2);
  (w.sum() + n.sum().to(at::kFloat)).backward();
  sync.all_reduce();
  EXPECT_EQ(n.grad().scalar_type(), at::kBFloat16);
}

TEST(BitsDigestTest, SeesASingleBit) {
  const auto w = at::randn({1001});
  const tuners::TrainableSet set{{{"w", w}}, 0};
  const uint64_t before = bits_digest(set);
  EXPECT_EQ(before, bits_digest(set));
  w[1000] = std::nextafter(w[1000].item<float>(), 100.0F);
  EXPECT_NE(before, bits_digest(set));
}

}  // namespace
}  // namespace tunefleet::collective

#include "tuners/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "tests/tuners/tiny_model.h"

namespace tunefleet::tuners {
namespace {

LinearSite site_of(int64_t out, int64_t in, at::ScalarType dtype = at::kFloat,
                   std::string path = "layer.q_proj") {
  LinearSite site;
  site.path = std::move(path);
  at::manual_seed(3);
  site.weight.base = at::randn({out, in}).to(dtype);
  return site;
}

struct Shape {
  int64_t in, out, r;
};

class LoraLinearTest : public testing::TestWithParam<Shape> {
 protected:
  LinearSite site_ = site_of(GetParam().out, GetParam().in);
  at::Tensor plain(const at::Tensor& x) { return x.matmul(site_.weight.base.t()); }
  at::Tensor run(const LoraLinear& lora, const at::Tensor& x) {
    return lora.forward(x, [&](const at::Tensor& input) { return plain(input); }, {});
  }
};

TEST_P(LoraLinearTest, StartsAsTheIdentity) {
  for (const char* init : {"true", "gaussian"}) {
    const LoraLinear lora(site_, "default", {.r = GetParam().r, .init = init}, 1);
    const at::Tensor x = at::randn({5, GetParam().in});
    EXPECT_TRUE(at::equal(run(lora, x), plain(x))) << init;
  }
}

TEST_P(LoraLinearTest, TheDeltaGivesTheSameOutput) {
  const LoraLinear lora(site_, "default", {.r = GetParam().r, .scaling = 1.7, .init = "false"}, 1);
  const at::Tensor x = at::randn({5, GetParam().in});
  const at::Tensor merged = x.matmul(site_.weight.base.add(lora.delta_weight()).t());
  EXPECT_TRUE(at::allclose(run(lora, x), merged, 1e-5, 1e-5));
  EXPECT_EQ(run(lora, x.narrow(0, 0, 0)).size(0), 0) << "no tokens";
}

TEST_P(LoraLinearTest, OnlyTheFactorsRequireGrad) {
  const LoraLinear lora(site_, "default", {.r = GetParam().r}, 1);
  EXPECT_TRUE(lora.a().is_leaf() && lora.a().requires_grad());
  EXPECT_TRUE(lora.b().is_leaf() && lora.b().requires_grad());
  EXPECT_EQ(lora.a().sizes().vec(), (std::vector<int64_t>{GetParam().r, GetParam().in}));
  EXPECT_EQ(lora.b().sizes().vec(), (std::vector<int64_t>{GetParam().out, GetParam().r}));
  EXPECT_FALSE(site_.weight.base.requires_grad());
}

INSTANTIATE_TEST_SUITE_P(Shapes, LoraLinearTest,
                         testing::Values(Shape{8, 8, 1}, Shape{5, 7, 3}, Shape{1, 1, 1},
                                         Shape{16, 4, 8}));

TEST(LoraInitTest, ValuesDependOnSeedPathAndNameAlone) {
  const LinearSite first = site_of(4, 6), second = site_of(4, 6, at::kFloat, "layer.v_proj");
  const LoraLinear a(first, "default", {.r = 2}, 1);
  const LoraLinear other(second, "default", {.r = 2}, 1);
  const LoraLinear again(first, "default", {.r = 2}, 1);
  EXPECT_TRUE(at::equal(a.a(), again.a()));
  EXPECT_FALSE(at::equal(a.a(), other.a()));
  EXPECT_FALSE(at::equal(a.a(), LoraLinear(first, "default", {.r = 2}, 2).a()));
  EXPECT_FALSE(at::equal(a.a(), LoraLinear(first, "second", {.r = 2}, 1).a()));
}

TEST(LoraInitTest, KaimingIsUniformWithinTheRootOfTheInputs) {
  const LinearSite site = site_of(300, 400);
  const LoraLinear lora(site, "default", {.r = 64, .init = "false"}, 1);
  const double bound_a = 1.0 / std::sqrt(400.0), bound_b = 1.0 / std::sqrt(64.0);
  EXPECT_LE(lora.a().abs().max().item<double>(), bound_a * (1 + 1e-6));
  EXPECT_NEAR(lora.a().std().item<double>(), bound_a / std::sqrt(3.0), bound_a * 0.02);
  EXPECT_LE(lora.b().abs().max().item<double>(), bound_b * (1 + 1e-6));
  EXPECT_NEAR(lora.b().std().item<double>(), bound_b / std::sqrt(3.0), bound_b * 0.02);
}

TEST(LoraInitTest, GaussianHasDeviationOneOverTheRank) {
  const LoraLinear lora(site_of(300, 400), "default", {.r = 16, .init = "gaussian"}, 1);
  EXPECT_NEAR(lora.a().std().item<double>(), 1.0 / 16.0, 0.002);
  EXPECT_TRUE(lora.b().eq(0).all().item<bool>());
}

TEST(LoraInitTest, OrthogonalFactorsCancel) {
  const LoraLinear lora(site_of(30, 40), "default", {.r = 8, .init = "orthogonal"}, 1);
  EXPECT_GT(lora.a().abs().max().item<double>(), 0.01);
  EXPECT_GT(lora.b().abs().max().item<double>(), 0.01);
  EXPECT_LT(lora.delta_weight().abs().max().item<double>(), 1e-6);
  EXPECT_THROW(LoraLinear(site_of(30, 40), "default", {.r = 3, .init = "orthogonal"}, 1),
               std::invalid_argument);
}

TEST(LoraDtypeTest, TheKernelGetsFloat32OrTheBasesDtype) {
  const auto dtype_at = [](at::ScalarType base, at::ScalarType lora) {
    const LinearSite site = site_of(4, 6, base);
    const auto update = LoraLinear(site, "default", {.r = 2, .dtype = lora}, 1).low_rank();
    return update->a.scalar_type();
  };
  EXPECT_EQ(dtype_at(at::kBFloat16, at::kFloat), at::kFloat);
  EXPECT_EQ(dtype_at(at::kBFloat16, at::kBFloat16), at::kBFloat16);
  EXPECT_EQ(dtype_at(at::kFloat, at::kBFloat16), at::kFloat);
  EXPECT_EQ(dtype_at(at::kBFloat16, at::kHalf), at::kFloat);
}

TEST(LoraDtypeTest, GradientsReachFactorsThatAreCast) {
  const LinearSite site = site_of(4, 6);
  const LoraLinear lora(site, "default", {.r = 2, .init = "false", .dtype = at::kBFloat16}, 1);
  const auto update = lora.low_rank();
  update->a.sum().add(update->b.sum()).backward();
  EXPECT_TRUE(lora.a().grad().defined());
  EXPECT_EQ(lora.b().grad().scalar_type(), at::kBFloat16);
}

TEST(LoraDropoutTest, NeedsTheModelsDrawsInTraining) {
  const LoraLinear lora(site_of(4, 6), "default", {.r = 2, .dropout = 0.5}, 1);
  const auto next = [](const at::Tensor& x) { return x.narrow(1, 0, 4); };
  ForwardContext training;
  training.training = true;
  EXPECT_THROW(lora.forward(at::ones({2, 6}), next, training), c10::Error);
  EXPECT_NO_THROW(lora.forward(at::ones({2, 6}), next, {}));
  EXPECT_EQ(lora.low_rank()->dropout, 0.5);
}

}  // namespace
}  // namespace tunefleet::tuners

#include "tests/worker/kernels/compare.h"
#include "worker/kernels/norm.h"
#include "worker/kernels/rope.h"
#include "worker/kernels/swiglu.h"

namespace tunefleet::kernels {
namespace {

class PointwiseTest : public testing::TestWithParam<KernelCase> {
 protected:
  PointwiseTest() { at::manual_seed(3); }
  at::Tensor input(double scale = 1.0) {
    return draw({GetParam().rows, GetParam().width}, GetParam().dtype, scale);
  }
};

TEST_P(PointwiseTest, RmsNormAndItsGradientsAreTheFormulas) {
  const auto x = input(3.0);
  const auto weight = draw({GetParam().width}, GetParam().dtype);
  const auto dy = input().detach();
  const auto y = rms_norm(x, weight, 1e-5);
  y.backward(dy);
  const auto wx = wide(x);
  const auto ww = wide(weight);
  const auto wanted = ww * (wx * at::rsqrt(wx.pow(2).mean(-1, true) + 1e-5));
  wanted.backward(dy.to(at::kFloat));
  expect_close(y, wanted, GetParam().tolerance(), "y");
  expect_close(x.grad(), wx.grad(), GetParam().tolerance(), "dx");
  expect_close(weight.grad(), ww.grad(), GetParam().tolerance(), "dweight");
}

TEST(RmsNormTest, AWiderWeightIsRoundedAndGetsAGradientOfItsOwnDtype) {
  at::manual_seed(5);
  const auto x = draw({7, 24}, at::kBFloat16, 1.0);
  const auto weight = draw({24}, at::kFloat);
  const auto narrow = weight.detach().to(at::kBFloat16).set_requires_grad(true);
  const auto dy = draw({7, 24}, at::kBFloat16).detach();
  const auto y = rms_norm(x, weight, 1e-5);
  y.backward(dy);
  const auto wanted = rms_norm(x.detach(), narrow, 1e-5);
  wanted.backward(dy);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(y, wanted));
  EXPECT_EQ(weight.grad().scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(weight.grad(), narrow.grad().to(at::kFloat)));
}

TEST_P(PointwiseTest, SwigluAndItsGradientsAreTheFormulas) {
  const auto gate = input(4.0);
  const auto up = input();
  const auto dy = input().detach();
  const auto y = swiglu(gate, up);
  y.backward(dy);
  const auto wg = wide(gate);
  const auto wu = wide(up);
  const auto wanted = at::silu(wg) * wu;
  wanted.backward(dy.to(at::kFloat));
  expect_close(y, wanted, GetParam().tolerance(), "y");
  expect_close(gate.grad(), wg.grad(), GetParam().tolerance(), "dgate");
  expect_close(up.grad(), wu.grad(), GetParam().tolerance(), "dup");
}

INSTANTIATE_TEST_SUITE_P(Shapes, PointwiseTest, kernel_cases(), case_name);

TEST(SwigluTest, LargeGatesNeitherOverflowNorVanish) {
  const auto gate = at::tensor({-200.0F, -88.0F, 0.0F, 88.0F, 200.0F});
  const auto y = swiglu(gate, at::ones({5}));
  expect_close(y, at::silu(gate), 1e-5, "y");
}

class RopeTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(RopeTest, RotatesHalvesAndItsGradientRotatesBack) {
  at::manual_seed(4);
  const int64_t n = 37;
  const int64_t heads = 3;
  const int64_t dim = 10;
  const auto angles = at::rand({n, dim / 2}) * 6.0;
  const auto packed = draw({n, (heads + 1) * dim}, GetParam());
  // Heads that are a slice of a wider row, as when q, k and v come from one product.
  const auto x = packed.narrow(1, 0, heads * dim).view({n, heads, dim});
  const auto dy = at::randn({n, heads, dim}).to(GetParam());
  const auto y = rope(x, angles.cos(), angles.sin());
  y.backward(dy);
  const auto wide_packed = wide(packed);
  const auto wx = wide_packed.narrow(1, 0, heads * dim).view({n, heads, dim});
  const auto halves = wx.chunk(2, -1);
  const auto cos = at::cat({angles.cos(), angles.cos()}, -1).unsqueeze(1);
  const auto sin = at::cat({angles.sin(), angles.sin()}, -1).unsqueeze(1);
  const auto wanted = wx * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
  wanted.backward(dy.to(at::kFloat));
  const double tolerance = GetParam() == at::kFloat ? 1e-6 : 1e-2;
  expect_close(y, wanted, tolerance, "y");
  expect_close(packed.grad(), wide_packed.grad(), tolerance, "dx");
}

INSTANTIATE_TEST_SUITE_P(Dtypes, RopeTest, testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace tunefleet::kernels

#include "worker/kernels/dora_linear.h"

#include "tests/worker/kernels/compare.h"
#include "worker/kernels/dropout.h"

namespace tunefleet::kernels {
namespace {

struct DoraCase {
  int64_t rows, in, out, r;
  bool bias;
  double dropout;
  at::ScalarType dtype;
};

/// x, A, B, magnitude and, where there is one, the bias.
using Inputs = std::vector<at::Tensor>;

class DoraLinearTest : public testing::TestWithParam<DoraCase> {
 protected:
  DoraLinearTest() {
    at::manual_seed(13);
    const auto& c = GetParam();
    weight_ = draw({c.out, c.in}, c.dtype, 0.2).detach();
    inputs_ = {draw({c.rows, c.in}, c.dtype), draw({c.r, c.in}, at::kFloat, 0.2),
               draw({c.out, c.r}, at::kFloat, 0.2),
               (at::rand({c.out}) + 0.5).requires_grad_(true)};
    if (c.bias) inputs_.push_back(draw({c.out}, c.dtype));
    norm_ = at::rand({c.out}) + 0.5;
    context_ = {.training = true, .seed = 1, .step = 7, .token_keys = at::arange(c.rows) * 11};
    dy_ = at::randn({c.rows, c.out}).to(c.dtype);
  }

  at::Tensor kernel(const Inputs& in, const at::Tensor& weight) const {
    const tuners::LowRankUpdate update{.a = in[1],
                                       .b = in[2],
                                       .scaling = kScaling,
                                       .dropout = GetParam().dropout,
                                       .stream = kStream,
                                       .magnitude = in[3],
                                       .norm = norm_};
    return dora_linear(in[0], weight, in.size() > 4 ? in[4] : at::Tensor(), update, context_);
  }

  /// x W^T + b + (c - 1) x' W^T + c s (x' A^T) B^T in float32, with c = magnitude / norm.
  at::Tensor formula(const Inputs& in, const at::Tensor& weight) const {
    const auto mask = dropout(at::ones(in[0].sizes()), context_.token_keys,
                              dropout_key(context_, kStream), GetParam().dropout);
    const auto dropped = in[0] * mask;
    const auto c = in[3] / norm_;
    auto y = in[0].matmul(weight.t()) + (c - 1) * dropped.matmul(weight.t()) +
             c * kScaling * dropped.matmul(in[1].t()).matmul(in[2].t());
    return in.size() > 4 ? y + in[4] : y;
  }

  double loss() const { return kernel(inputs_, weight_).mul(dy_).sum(at::kDouble).item<double>(); }

  static constexpr double kScaling = 1.5;
  static constexpr uint64_t kStream = 3;
  at::Tensor weight_, norm_, dy_;
  Inputs inputs_;
  tuners::ForwardContext context_;
};

TEST_P(DoraLinearTest, OutputAndGradientsAreTheFormulas) {
  const auto y = kernel(inputs_, weight_);
  y.backward(dy_);
  Inputs copies;
  for (const auto& each : inputs_) copies.push_back(wide(each));
  const auto wanted = formula(copies, weight_.to(at::kFloat));
  wanted.backward(dy_.to(at::kFloat));
  const double tolerance = GetParam().dtype == at::kFloat ? 1e-5 : 3e-2;
  EXPECT_EQ(y.scalar_type(), GetParam().dtype);
  expect_close(y, wanted, tolerance, "y");
  const std::vector<const char*> names{"dx", "dA", "dB", "dmagnitude", "dbias"};
  for (size_t i = 0; i < inputs_.size(); ++i) {
    EXPECT_EQ(inputs_[i].grad().scalar_type(), inputs_[i].scalar_type()) << names[i];
    expect_close(inputs_[i].grad(), copies[i].grad(), tolerance, names[i]);
  }
  EXPECT_FALSE(weight_.grad().defined()) << "the frozen weight must get no gradient";
}

TEST_P(DoraLinearTest, GradientsMatchDifferenceQuotients) {
  if (GetParam().dtype != at::kFloat) GTEST_SKIP() << "too coarse for difference quotients";
  kernel(inputs_, weight_).backward(dy_);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].numel() == 0) continue;
    // The output is linear in each input alone: the quotient is exact for any step.
    const auto direction = at::randn_like(inputs_[i]);
    inputs_[i].add_(direction);
    const double ahead = loss();
    inputs_[i].sub_(direction, 2.0);
    const double behind = loss();
    inputs_[i].add_(direction);
    const double seen = inputs_[i].grad().mul(direction).sum(at::kDouble).item<double>();
    const double size = std::max({1.0, std::abs(ahead), std::abs(behind)});
    EXPECT_NEAR(seen, (ahead - behind) / 2.0, 1e-5 * size) << "input " << i;
  }
}

TEST_P(DoraLinearTest, ATrainedWeightGetsItsGradient) {
  auto weight = weight_.clone().requires_grad_(true);
  kernel(inputs_, weight).backward(dy_);
  const auto copy = wide(weight_);
  Inputs copies;
  for (const auto& each : inputs_) copies.push_back(wide(each));
  formula(copies, copy).backward(dy_.to(at::kFloat));
  expect_close(weight.grad(), copy.grad(), GetParam().dtype == at::kFloat ? 1e-5 : 3e-2, "dweight");
}

INSTANTIATE_TEST_SUITE_P(Shapes, DoraLinearTest,
                         testing::Values(DoraCase{1, 1, 1, 1, false, 0.0, at::kFloat},
                                         DoraCase{5, 7, 3, 2, true, 0.0, at::kFloat},
                                         DoraCase{33, 64, 96, 8, false, 0.0, at::kFloat},
                                         DoraCase{33, 64, 96, 8, false, 0.3, at::kFloat},
                                         DoraCase{20, 48, 80, 4, true, 0.1, at::kFloat},
                                         DoraCase{0, 48, 80, 4, true, 0.0, at::kFloat},
                                         DoraCase{33, 64, 96, 8, false, 0.0, at::kBFloat16},
                                         DoraCase{33, 64, 96, 8, true, 0.2, at::kBFloat16}));

TEST(DoraLinearLawTest, AnOutputOfMagnitudeZeroIsSilentAndHasAGradient) {
  at::manual_seed(14);
  const auto x = draw({6, 5}, at::kFloat);
  const auto weight = at::randn({4, 5});
  auto magnitude = at::ones({4});
  magnitude[1] = 0.0;
  magnitude.requires_grad_(true);
  const tuners::LowRankUpdate update{.a = draw({2, 5}, at::kFloat),
                                     .b = draw({4, 2}, at::kFloat),
                                     .scaling = 1.0,
                                     .magnitude = magnitude,
                                     .norm = at::ones({4})};
  const auto y = dora_linear(x, weight, {}, update, {.training = true});
  EXPECT_EQ(y.select(1, 1).abs().max().item<double>(), 0.0);
  y.sum().backward();
  const auto inside = x.matmul(weight.t()) + x.matmul(update.a.t()).matmul(update.b.t());
  expect_close(magnitude.grad(), inside.sum(0), 1e-5, "dmagnitude");
}

TEST(DoraLinearLawTest, EvaluationDoesNotDropOut) {
  at::manual_seed(15);
  const auto x = at::randn({4, 8}), weight = at::randn({6, 8});
  const tuners::LowRankUpdate update{.a = at::randn({2, 8}),
                                     .b = at::randn({6, 2}),
                                     .scaling = 2.0,
                                     .dropout = 0.9,
                                     .stream = 1,
                                     .magnitude = at::rand({6}),
                                     .norm = at::ones({6})};
  const auto inside = x.matmul(weight.t()) + 2.0 * x.matmul(update.a.t()).matmul(update.b.t());
  expect_close(dora_linear(x, weight, {}, update, {}), update.magnitude * inside, 1e-5, "y");
}

}  // namespace
}  // namespace tunefleet::kernels

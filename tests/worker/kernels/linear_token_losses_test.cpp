#include "worker/kernels/linear_token_losses.h"

#include "tests/worker/kernels/compare.h"

namespace tunefleet::kernels {
namespace {

struct HeadCase {
  int64_t rows, hidden, vocab;
  at::ScalarType dtype;
};

class LinearTokenLossesTest : public testing::TestWithParam<HeadCase> {};

TEST_P(LinearTokenLossesTest, LossesAndGradientsOfAnyWeightsAreTorchs) {
  at::manual_seed(8);
  const auto& c = GetParam();
  const auto hidden = draw({c.rows, c.hidden}, c.dtype);
  const auto weight = draw({c.vocab, c.hidden}, c.dtype);
  const auto targets = at::randint(0, c.vocab, {c.rows}, at::kLong);
  const auto row_weights = at::randn({c.rows});
  const auto losses = linear_token_losses(hidden, weight, targets);
  (losses * row_weights).sum().backward();
  const auto wh = wide(hidden);
  const auto ww = wide(weight);
  const auto wanted = token_losses(wh.matmul(ww.t()), targets);
  (wanted * row_weights).sum().backward();
  const double tolerance = c.dtype == at::kFloat ? 2e-5 : 3e-2;
  EXPECT_EQ(losses.scalar_type(), at::kFloat);
  expect_close(losses, wanted, tolerance, "losses");
  expect_close(hidden.grad(), wh.grad(), tolerance, "dhidden");
  expect_close(weight.grad(), ww.grad(), tolerance, "dweight");
}

// 5000 tokens of 2,000 words: several chunks, the last one short.
INSTANTIATE_TEST_SUITE_P(Shapes, LinearTokenLossesTest,
                         testing::Values(HeadCase{0, 8, 11, at::kFloat},
                                         HeadCase{1, 1, 1, at::kFloat},
                                         HeadCase{3, 8, 11, at::kFloat},
                                         HeadCase{65, 48, 384, at::kBFloat16},
                                         HeadCase{5000, 16, 2000, at::kFloat}));

TEST(LinearTokenLossesLawTest, AFrozenHeadGetsNoGradient) {
  at::manual_seed(9);
  const auto hidden = draw({4, 8}, at::kFloat);
  const auto weight = at::randn({11, 8});
  const auto targets = at::randint(0, 11, {4}, at::kLong);
  linear_token_losses(hidden, weight, targets).sum().backward();
  EXPECT_TRUE(hidden.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

TEST(LinearTokenLossesLawTest, WithoutGradientTheLossesAreTheSame) {
  at::manual_seed(10);
  const auto hidden = draw({20, 16}, at::kFloat);
  const auto weight = at::randn({50, 16});
  const auto targets = at::randint(0, 50, {20}, at::kLong);
  const auto trained = linear_token_losses(hidden, weight, targets);
  const at::NoGradGuard no_grad;
  const auto evaluated = linear_token_losses(hidden, weight, targets);
  EXPECT_TRUE(at::equal(trained, evaluated));
  EXPECT_FALSE(evaluated.requires_grad());
}

}  // namespace
}  // namespace tunefleet::kernels

#include "worker/kernels/linear_cross_entropy.h"

#include "tests/worker/kernels/compare.h"

namespace tunefleet::kernels {
namespace {

struct HeadCase {
  int64_t rows, hidden, vocab;
  at::ScalarType dtype;
};

class LinearCrossEntropyTest : public testing::TestWithParam<HeadCase> {};

TEST_P(LinearCrossEntropyTest, LossAndGradientsAreTorchs) {
  at::manual_seed(6);
  const auto& c = GetParam();
  const auto hidden = draw({c.rows, c.hidden}, c.dtype);
  const auto weight = draw({c.vocab, c.hidden}, c.dtype);
  const auto targets = at::randint(0, c.vocab, {c.rows}, at::kLong);
  CrossEntropySums sums;
  const auto loss = linear_cross_entropy(hidden, weight, targets, 0.25, &sums);
  (loss * 3.0).backward();
  const auto wh = wide(hidden);
  const auto ww = wide(weight);
  const auto logits = wh.matmul(ww.t());
  const auto wanted = at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum) * 0.25;
  (wanted * 3.0).backward();
  const double tolerance = c.dtype == at::kFloat ? 2e-5 : 3e-2;
  expect_close(loss, wanted, tolerance, "loss");
  expect_close(hidden.grad(), wh.grad(), tolerance, "dhidden");
  expect_close(weight.grad(), ww.grad(), tolerance, "dweight");
  EXPECT_EQ(sums.rows, c.rows);
  EXPECT_NEAR(sums.loss * 0.25, wanted.item<double>(),
              tolerance * std::max(1.0, std::abs(wanted.item<double>())));
  if (c.dtype == at::kFloat) {
    EXPECT_EQ(sums.correct, logits.argmax(-1).eq(targets).sum().item<int64_t>());
  }
}

// 5000 tokens of 2,000 words: several chunks, the last one short.
INSTANTIATE_TEST_SUITE_P(Shapes, LinearCrossEntropyTest,
                         testing::Values(HeadCase{0, 8, 11, at::kFloat},
                                         HeadCase{1, 1, 1, at::kFloat},
                                         HeadCase{3, 8, 11, at::kFloat},
                                         HeadCase{65, 48, 384, at::kBFloat16},
                                         HeadCase{5000, 16, 2000, at::kFloat}));

TEST(LinearCrossEntropyLawTest, WithoutGradientTheLossIsTheSame) {
  at::manual_seed(7);
  const auto hidden = draw({20, 16}, at::kFloat);
  const auto weight = at::randn({50, 16});
  const auto targets = at::randint(0, 50, {20}, at::kLong);
  const auto trained = linear_cross_entropy(hidden, weight, targets, 1.0, nullptr);
  const at::NoGradGuard no_grad;
  const auto evaluated = linear_cross_entropy(hidden, weight, targets, 1.0, nullptr);
  EXPECT_EQ(trained.item<float>(), evaluated.item<float>());
  EXPECT_FALSE(evaluated.requires_grad());
}

TEST(LinearCrossEntropyLawTest, FarApartLogitsStayFinite) {
  const auto hidden = at::tensor({1.0F, -1.0F}).view({2, 1}).requires_grad_(true);
  const auto weight = at::tensor({300.0F, -300.0F, 0.0F}).view({3, 1});
  const auto loss =
      linear_cross_entropy(hidden, weight, at::tensor({1, 1}, at::kLong), 1.0, nullptr);
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), 600.0, 1e-3);
  EXPECT_TRUE(hidden.grad().isfinite().all().item<bool>());
}

}  // namespace
}  // namespace tunefleet::kernels

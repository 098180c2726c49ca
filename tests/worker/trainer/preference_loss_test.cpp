#include "worker/trainer/preference_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace tunefleet::trainer {
namespace {

struct LossCase {
  const char* name;
  double label_smoothing = 0.0;
  double beta = 0.3;
};

double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// The formulas once more, in plain numbers. c and r: log-ratios of the chosen and the rejected.
double wanted_loss(const LossCase& of, double c, double r) {
  const std::string name = of.name;
  const double b = of.beta, e = of.label_smoothing, d = c - r;
  if (name == "sigmoid")
    return -(1 - e) * std::log(logistic(b * d)) - e * std::log(logistic(-b * d));
  if (name == "robust")
    return (-(1 - e) * std::log(logistic(b * d)) + e * std::log(logistic(-b * d))) / (1 - 2 * e);
  if (name == "hinge") return std::max(0.0, 1 - b * d);
  if (name == "ipo") return std::pow(d - 1 / (2 * b), 2);
  if (name == "nca_pair") {
    return -std::log(logistic(b * c)) - 0.5 * std::log(logistic(-b * c)) -
           0.5 * std::log(logistic(-b * r));
  }
  if (name == "sppo_hard") return std::pow(c - 0.5 / b, 2) + std::pow(r + 0.5 / b, 2);
  if (name == "apo_zero") return (1 - logistic(b * c)) + logistic(b * r);
  if (name == "apo_down") return logistic(b * c) + (1 - logistic(b * d));
  throw std::logic_error(name);
}

at::Tensor values(std::vector<double> numbers) { return at::tensor(numbers, at::kDouble); }

class PreferenceLossTest : public testing::TestWithParam<LossCase> {
 protected:
  PreferenceOptions options() const {
    return {.loss_type = GetParam().name,
            .beta = GetParam().beta,
            .label_smoothing = GetParam().label_smoothing};
  }
  const AnswerLogps reference_{values({-40.0, -7.5, -12.0, -90.0}),
                               values({-41.0, -3.0, -12.5, -60.0})};
  const std::vector<double> chosen_{-38.0, -8.0, -12.1, -93.0};
  const std::vector<double> rejected_{-43.5, -2.5, -16.9, -50.0};
};

TEST_P(PreferenceLossTest, IsTheFormulaAndItsGradientTheDifferenceQuotient) {
  const AnswerLogps policy{values(chosen_).requires_grad_(true),
                           values(rejected_).requires_grad_(true)};
  const auto losses = preference_loss(options(), policy, reference_);
  ASSERT_EQ(losses.scalar_type(), at::kDouble);
  losses.sum().backward();
  constexpr double kStep = 1e-6;
  for (int64_t i = 0; i < losses.size(0); ++i) {
    const auto at = static_cast<size_t>(i);
    const double c = chosen_[at] - reference_.chosen[i].item<double>();
    const double r = rejected_[at] - reference_.rejected[i].item<double>();
    const double wanted = wanted_loss(GetParam(), c, r);
    EXPECT_NEAR(losses[i].item<double>(), wanted, 1e-12 * std::max(1.0, std::abs(wanted)));
    const auto slope = [&](double dc, double dr) {
      return (wanted_loss(GetParam(), c + dc, r + dr) - wanted_loss(GetParam(), c - dc, r - dr)) /
             (2 * kStep);
    };
    EXPECT_NEAR(policy.chosen.grad()[i].item<double>(), slope(kStep, 0), 1e-6) << i;
    EXPECT_NEAR(policy.rejected.grad()[i].item<double>(), slope(0, kStep), 1e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PreferenceLossTest,
                         testing::Values(LossCase{"sigmoid"}, LossCase{"sigmoid", 0.2},
                                         LossCase{"robust", 0.1}, LossCase{"hinge"},
                                         LossCase{"ipo"}, LossCase{"nca_pair"},
                                         LossCase{"sppo_hard"}, LossCase{"apo_zero"},
                                         LossCase{"apo_down"}));

TEST(PreferenceLoss, StaysFiniteFarFromTheReference) {
  const AnswerLogps policy{values({-1e6}).requires_grad_(true), values({0.0})};
  const AnswerLogps reference{values({0.0}), values({-1e6})};
  const auto loss = preference_loss({}, policy, reference).sum();
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), 2e5, 1e-3);
  EXPECT_NEAR(policy.chosen.grad().item<double>(), -0.1, 1e-9);
}

TEST(PreferenceLoss, RefusesAnotherName) {
  const AnswerLogps any{values({0.0}), values({0.0})};
  EXPECT_THROW(preference_loss({.loss_type = "aot"}, any, any), std::invalid_argument);
}

}  // namespace
}  // namespace tunefleet::trainer

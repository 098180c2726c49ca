#include "worker/trainer/update_rule.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "worker/trainer/dynamic_8bit.h"

namespace tunefleet::trainer {
namespace {

TEST(Dynamic8Bit, ValuesAreTheTrees) {
  // Every value the tree holds comes back as itself; 1 is one of them and -1 is not, so that the
  // largest of a block is kept when it is positive.
  Dynamic8Bit state({3, 100}, at::kCPU, /*is_signed=*/true);
  EXPECT_EQ(state.read().abs().max().item<float>(), 0.0F);
  at::manual_seed(1);
  auto value = at::randn({3, 100});
  value[0][0] = value[2][99] = 4.0;
  state.write(value);
  const auto once = state.read();
  state.write(once);
  EXPECT_TRUE(at::equal(once, state.read()));
  EXPECT_EQ(once.abs().max().item<float>(), value.abs().max().item<float>());
  // 64 fractions in the uppermost decade: half of a part of 0.9 / 64 at most, over the largest.
  EXPECT_LT((once - value).abs().max().item<double>(),
            0.9 / 128 * value.abs().max().item<double>() * 1.01);
}

TEST(Dynamic8Bit, SmallNumbersKeepTheirSize) {
  Dynamic8Bit state({7}, at::kCPU, /*is_signed=*/false);
  const auto value = at::tensor({1.0, 0.3, 0.02, 3e-3, 2e-4, 4e-5, 0.0}).to(at::kFloat);
  state.write(value);
  const auto error = ((state.read() - value) / value.clamp_min(1e-30)).abs();
  EXPECT_LT(error[1].item<double>(), 0.02);
  EXPECT_LT(error[3].item<double>(), 0.05);
  EXPECT_LT(error[5].item<double>(), 0.35);
  EXPECT_EQ(state.read()[6].item<float>(), 0.0F);
}

TEST(UpdateRule, EightBitAdamFollowsAdam) {
  const RuleOptions options{.kind = RuleKind::kAdam8Bit};
  const auto small = make_rule(options, at::kFloat);
  const auto adam = make_rule({}, at::kFloat);
  const auto eight = make_rule(options, at::kFloat);
  for (int64_t step = 1; step <= 20; ++step) {
    at::manual_seed(step);
    const auto gradient = at::randn({64, 65}) + 0.5;
    const auto wanted = adam->direction(gradient, step);
    const auto got = eight->direction(gradient, step);
    EXPECT_LT((got - wanted).norm().item<double>(), 0.05 * wanted.norm().item<double>()) << step;
    // Below 4096 numbers there is nothing in 8 bits.
    const auto part = gradient.narrow(0, 0, 8).contiguous();
    EXPECT_TRUE(at::allclose(small->direction(part, step), wanted.narrow(0, 0, 8), 1e-5, 1e-6));
  }
}

TEST(Dynamic8Bit, BlocksAreWrittenAndReadAsTheWhole) {
  for (const bool is_signed : {true, false}) {
    // Every value of the tree, every middle between two, and their neighbours.
    Dynamic8Bit all({256}, at::kCPU, is_signed);
    all.load(at::arange(256).to(at::kByte), at::ones({1}));
    const auto values = all.read();
    const auto middles = (values.slice(0, 1) + values.slice(0, 0, -1)) * 0.5;
    const auto infinite = at::full({}, std::numeric_limits<float>::infinity());
    const auto edges = at::cat({values, middles, at::nextafter(middles, infinite),
                                at::nextafter(middles, -infinite), at::zeros({2}).neg(),
                                at::full({1}, 1e-30), at::ones({1})});
    at::manual_seed(2);
    auto draws = at::randn({40, 256}) * at::pow(10.0, at::randn({40, 256}));
    draws[3].zero_();
    if (!is_signed) draws = draws.abs();
    for (const auto& value : {edges, draws.view(-1), draws.view(-1).narrow(0, 0, 1001)}) {
      Dynamic8Bit whole(value.sizes(), at::kCPU, is_signed),
          parts(value.sizes(), at::kCPU, is_signed);
      whole.write(value);
      const auto blocks = parts.blocks();
      auto back = at::empty_like(value);
      for (int64_t b = 0; b * Dynamic8Bit::kBlock < value.numel(); ++b) {
        const int64_t from = b * Dynamic8Bit::kBlock;
        const int64_t count = std::min(Dynamic8Bit::kBlock, value.numel() - from);
        blocks.write(b, count, value.const_data_ptr<float>() + from);
        blocks.read(b, count, back.mutable_data_ptr<float>() + from);
      }
      EXPECT_TRUE(at::equal(parts.codes(), whole.codes()));
      EXPECT_TRUE(at::equal(parts.largest(), whole.largest()));
      EXPECT_TRUE(at::equal(back, whole.read()));
    }
  }
}

TEST(UpdateRule, AdamIsItsFormula) {
  const RuleOptions options{.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6};
  const auto rule = make_rule(options, at::kFloat);
  auto m = at::zeros({123, 457}, at::kDouble), v = at::zeros({123, 457}, at::kDouble);
  for (int64_t step = 1; step <= 5; ++step) {
    at::manual_seed(step);
    const auto gradient = at::randn({123, 457});
    const auto g = gradient.to(at::kDouble);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double factor = std::sqrt(1 - std::pow(0.999, step)) / (1 - std::pow(0.9, step));
    const auto wanted = (m / (v.sqrt() + 1e-6) * factor).to(at::kFloat);
    EXPECT_TRUE(at::allclose(rule->direction(gradient, step), wanted, 1e-5, 1e-6)) << step;
  }
}

class Moves : public testing::TestWithParam<RuleKind> {};

TEST_P(Moves, AreStepsAlongTheDirection) {
  const int threads = at::get_num_threads();
  for (const auto& shape : {std::vector<int64_t>{1}, {300}, {70, 900}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const auto one = make_rule({.kind = GetParam()}, dtype);
      const auto two = make_rule({.kind = GetParam()}, dtype);
      at::manual_seed(11);
      auto value = at::randn(shape).to(dtype);
      auto wanted = value.clone();
      for (int64_t step = 1; step <= 4; ++step) {
        const auto gradient = at::randn(shape) * 0.1;
        const StepSize size{.rate = 0.01, .kept = step % 2 == 0 ? 0.9 : 1.0};
        at::set_num_threads(1);
        move_along(wanted, two->direction(gradient, step), size, two->decays_first());
        at::set_num_threads(3);
        const auto version = value._version();
        one->move(value, gradient, step, size);
        EXPECT_GT(value._version(), version);
        const double tolerance = dtype == at::kFloat ? 1e-6 : 2e-2;
        EXPECT_TRUE(at::allclose(value, wanted, tolerance, tolerance * 0.1)) << step;
      }
      Optimizer::NamedTensors ones, twos;
      one->append_state("", ones);
      two->append_state("", twos);
      ASSERT_EQ(ones.size(), twos.size());
      for (size_t i = 0; i < ones.size(); ++i)
        EXPECT_TRUE(at::equal(ones[i].second, twos[i].second)) << ones[i].first;
    }
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Moves,
                         testing::Values(RuleKind::kAdam, RuleKind::kAdam8Bit,
                                         RuleKind::kAdafactor));

/// transformers.optimization.Adafactor by its formulas, in float64 and number by number.
class PlainAdafactor {
 public:
  at::Tensor direction(const at::Tensor& g, int64_t step) {
    const double beta = 1.0 - std::pow(static_cast<double>(step), -0.8);
    const auto square = g * g + 1e-30;
    at::Tensor second;
    if (g.dim() == 2) {
      row_ = step == 1 ? square.mean(1) : beta * row_ + (1 - beta) * square.mean(1);
      column_ = step == 1 ? square.mean(0) : beta * column_ + (1 - beta) * square.mean(0);
      second = at::outer(row_, column_) / row_.mean();
    } else {
      row_ = step == 1 ? square : beta * row_ + (1 - beta) * square;
      second = row_;
    }
    const auto update = g / second.sqrt();
    const double rms = update.square().mean().sqrt().item<double>();
    return update / std::max(1.0, rms);
  }

 private:
  at::Tensor row_, column_;
};

TEST(UpdateRule, AdafactorIsItsFormula) {
  // The last is larger than what is squared at once.
  for (const auto& shape : {std::vector<int64_t>{6, 9}, {9, 6}, {11}, {2200, 2000}}) {
    const auto rule = make_rule({.kind = RuleKind::kAdafactor}, at::kFloat);
    PlainAdafactor plain;
    for (int64_t step = 1; step <= 5; ++step) {
      at::manual_seed(step);
      const auto gradient = at::randn(shape) * step;
      const auto wanted = plain.direction(gradient.to(at::kDouble), step).to(at::kFloat);
      EXPECT_TRUE(at::allclose(rule->direction(gradient, step), wanted, 1e-4, 1e-5)) << step;
    }
  }
}

}  // namespace
}  // namespace tunefleet::trainer

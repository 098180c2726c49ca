#include "worker/kernels/lora_linear.h"

#include "tests/worker/kernels/compare.h"
#include "worker/kernels/dropout.h"

namespace tunefleet::kernels {
namespace {

struct LoraCase {
  int64_t rows, in, out;
  std::vector<int64_t> ranks;  ///< One update for each.
  bool bias;
  double dropout;
  at::ScalarType dtype;
};

class LoraLinearTest : public testing::TestWithParam<LoraCase> {
 protected:
  LoraLinearTest() {
    at::manual_seed(5);
    const auto& c = GetParam();
    x_ = draw({c.rows, c.in}, c.dtype);
    weight_ = draw({c.out, c.in}, c.dtype, 0.1).detach();
    if (c.bias) bias_ = draw({c.out}, c.dtype);
    for (const int64_t r : c.ranks) {
      updates_.push_back({draw({r, c.in}, at::kFloat, 0.2), draw({c.out, r}, at::kFloat, 0.2),
                          0.5 + static_cast<double>(r), c.dropout, static_cast<uint64_t>(r)});
    }
    context_ = {.training = true, .seed = 1, .step = 7, .token_keys = at::arange(c.rows) * 11};
  }

  /// x W^T + b + sum of scaling * (drop(x) A^T) B^T on float32 copies.
  at::Tensor formula(const at::Tensor& x, const at::Tensor& bias,
                     const std::vector<at::Tensor>& factors) const {
    auto y = x.matmul(weight_.to(at::kFloat).t());
    if (bias.defined()) y = y + bias;
    for (size_t i = 0; i < updates_.size(); ++i) {
      const auto& update = updates_[i];
      const auto mask = dropout(at::ones(x.sizes()), context_.token_keys,
                                dropout_key(context_, update.stream), update.dropout);
      y = y + update.scaling * (x * mask).matmul(factors[2 * i].t()).matmul(factors[2 * i + 1].t());
    }
    return y;
  }

  at::Tensor x_, weight_, bias_;
  std::vector<tuners::LowRankUpdate> updates_;
  tuners::ForwardContext context_;
};

TEST_P(LoraLinearTest, OutputAndGradientsAreTheFormulas) {
  const auto& c = GetParam();
  const auto dy = at::randn({c.rows, c.out}).to(c.dtype);
  const auto y = lora_linear(x_, weight_, bias_, updates_, context_);
  y.backward(dy);
  const auto wx = wide(x_);
  const auto wb = bias_.defined() ? wide(bias_) : at::Tensor();
  std::vector<at::Tensor> factors;
  for (const auto& update : updates_) {
    factors.push_back(wide(update.a));
    factors.push_back(wide(update.b));
  }
  const auto wanted = formula(wx, wb, factors);
  wanted.backward(dy.to(at::kFloat));
  const double tolerance = c.dtype == at::kFloat ? 1e-5 : 3e-2;
  expect_close(y, wanted, tolerance, "y");
  expect_close(x_.grad(), wx.grad(), tolerance, "dx");
  if (bias_.defined()) expect_close(bias_.grad(), wb.grad(), tolerance, "dbias");
  for (size_t i = 0; i < updates_.size(); ++i) {
    expect_close(updates_[i].a.grad(), factors[2 * i].grad(), tolerance, "dA");
    expect_close(updates_[i].b.grad(), factors[2 * i + 1].grad(), tolerance, "dB");
  }
  EXPECT_FALSE(weight_.grad().defined()) << "the frozen weight must get no gradient";
}

INSTANTIATE_TEST_SUITE_P(Shapes, LoraLinearTest,
                         testing::Values(LoraCase{1, 1, 1, {1}, false, 0.0, at::kFloat},
                                         LoraCase{5, 7, 3, {2}, true, 0.0, at::kFloat},
                                         LoraCase{33, 64, 96, {8}, false, 0.0, at::kFloat},
                                         LoraCase{33, 64, 96, {8}, false, 0.3, at::kFloat},
                                         LoraCase{20, 48, 80, {4, 1, 8}, true, 0.1, at::kFloat},
                                         LoraCase{20, 48, 80, {}, true, 0.0, at::kFloat},
                                         LoraCase{0, 48, 80, {4}, false, 0.0, at::kFloat},
                                         LoraCase{33, 64, 96, {8, 2}, true, 0.2, at::kBFloat16}));

TEST(LoraLinearLawTest, EvaluationDoesNotDropOut) {
  const auto x = at::randn({4, 8});
  const auto weight = at::randn({6, 8});
  const tuners::LowRankUpdate update{at::randn({2, 8}), at::randn({6, 2}), 2.0, 0.9, 1};
  const auto y = lora_linear(x, weight, {}, {update}, {});
  const auto wanted = x.matmul(weight.t()) + 2.0 * x.matmul(update.a.t()).matmul(update.b.t());
  expect_close(y, wanted, 1e-5, "y");
}

TEST(LoraLinearLawTest, TrainedWeightGetsItsGradient) {
  const auto x = draw({9, 8}, at::kFloat);
  const auto weight = draw({6, 8}, at::kFloat);
  lora_linear(x, weight, {}, {}, {}).sum().backward();
  expect_close(weight.grad(), x.sum(0).expand({6, 8}), 1e-5, "dweight");
}

TEST(LoraLinearLawTest, AFrozenLayerWithoutUpdatesKeepsNoInput) {
  const auto weight = at::randn({6, 8}), a = draw({2, 8}, at::kFloat), b = draw({6, 2}, at::kFloat);
  for (const bool updated : {false, true}) {
    auto x = draw({9, 8}, at::kFloat).mul(2.0);
    const auto before = x.use_count();
    std::vector<tuners::LowRankUpdate> updates;
    if (updated) updates.push_back({a, b, 2.0, 0.0, 1});
    const auto y = lora_linear(x, weight, {}, updates, {});
    EXPECT_EQ(x.use_count() > before, updated);
    y.sum().backward();
  }
}

}  // namespace
}  // namespace tunefleet::kernels

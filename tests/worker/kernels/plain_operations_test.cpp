#include <torch/csrc/autograd/function.h>

#include <functional>
#include <map>

#include "tests/worker/kernels/compare.h"
#include "worker/kernels/linear_cross_entropy.h"
#include "worker/kernels/norm.h"
#include "worker/kernels/rope.h"
#include "worker/kernels/swiglu.h"

/// Torch's operations in the place of a fused kernel give its values and gradients.
namespace tunefleet::kernels {
namespace {

using tuners::Kernels;
using Operation = std::function<at::Tensor(const std::vector<at::Tensor>&, Kernels)>;

class PlainOperationsTest : public testing::TestWithParam<KernelCase> {
 protected:
  PlainOperationsTest() { at::manual_seed(11); }
  at::Tensor input(double scale = 1.0) {
    return draw({GetParam().rows, GetParam().width}, GetParam().dtype, scale);
  }

  /// `operation` on copies of `inputs`, and the same backward pass, in both ways.
  static void expect_the_same(const std::vector<at::Tensor>& inputs, const Operation& operation) {
    const double tolerance = GetParam().tolerance();
    std::vector<at::Tensor> copies;
    for (const auto& each : inputs) copies.push_back(each.detach().clone().requires_grad_(true));
    const auto fused = operation(inputs, Kernels::kFused);
    const auto plain = operation(copies, Kernels::kPlain);
    EXPECT_NE(fused.grad_fn()->name(), plain.grad_fn()->name()) << "one implementation only";
    expect_close(plain, fused, tolerance, "output");
    const auto dy = at::randn(fused.sizes()).to(fused.scalar_type());
    fused.backward(dy);
    plain.backward(dy);
    for (size_t i = 0; i < inputs.size(); ++i)
      expect_close(copies[i].grad(), inputs[i].grad(), tolerance, "gradient");
  }
};

TEST_P(PlainOperationsTest, OfTheNorm) {
  expect_the_same(
      {input(3.0), draw({GetParam().width}, GetParam().dtype)},
      [](const auto& in, Kernels kernels) { return rms_norm(in[0], in[1], 1e-5, kernels); });
}

TEST_P(PlainOperationsTest, OfSwiglu) {
  expect_the_same({input(4.0), input()},
                  [](const auto& in, Kernels kernels) { return swiglu(in[0], in[1], kernels); });
}

TEST_P(PlainOperationsTest, OfTheRotaryEmbedding) {
  const auto angles = at::rand({GetParam().rows, 4}) * 6.0;
  expect_the_same({draw({GetParam().rows, 3, 8}, GetParam().dtype)},
                  [&](const auto& in, Kernels kernels) {
                    return rope(in[0], angles.cos(), angles.sin(), kernels);
                  });
}

TEST_P(PlainOperationsTest, OfTheLoss) {
  const auto& c = GetParam();
  const auto targets = at::randint(0, 50, {c.rows}, at::kLong);
  std::map<Kernels, CrossEntropySums> sums;
  expect_the_same({input(), draw({50, c.width}, c.dtype)}, [&](const auto& in, Kernels kernels) {
    return kernels == Kernels::kFused
               ? linear_cross_entropy(in[0], in[1], targets, 0.25, &sums[kernels])
               : cross_entropy(in[0].matmul(in[1].t()), targets, 0.25, &sums[kernels]);
  });
  const auto &fused = sums[Kernels::kFused], &plain = sums[Kernels::kPlain];
  EXPECT_EQ(plain.rows, fused.rows);
  if (c.dtype == at::kFloat) {
    EXPECT_EQ(plain.correct, fused.correct);
  }
  EXPECT_NEAR(plain.loss, fused.loss, c.tolerance() * std::max(1.0, fused.loss));
}

INSTANTIATE_TEST_SUITE_P(Shapes, PlainOperationsTest, kernel_cases(), case_name);

}  // namespace
}  // namespace tunefleet::kernels

#include "tuners/gradient_place.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>

#include "tests/worker/kernels/compare.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/linear_cross_entropy.h"
#include "worker/kernels/lora_linear.h"

namespace tunefleet::kernels {
namespace {

class NoHook : public torch::autograd::PostAccumulateGradHook {
 public:
  void operator()(const at::Tensor&) override {}
};

TEST(GradientPlaceTest, IsTheGradientOfALeafThatNobodyWatches) {
  const at::NoGradGuard no_grad;
  const auto w = at::ones({2, 3}).requires_grad_(true);
  EXPECT_FALSE(tuners::gradient_place(w).defined()) << "no gradient yet";
  w.mutable_grad() = at::zeros({2, 3});
  EXPECT_TRUE(tuners::gradient_place(w).is_same(w.grad()));
  {
    const at::AutoGradMode with_gradient(true);
    EXPECT_FALSE(tuners::gradient_place(w).defined()) << "a gradient of the gradient";
    EXPECT_FALSE(tuners::gradient_place(w.mul(1.0)).defined()) << "no leaf";
  }
  torch::autograd::impl::set_post_acc_grad_hooks(w, std::make_unique<NoHook>());
  EXPECT_FALSE(tuners::gradient_place(w).defined()) << "a hook";
  torch::autograd::impl::set_post_acc_grad_hooks(w, nullptr);
  EXPECT_TRUE(tuners::gradient_place(w).defined());
  w.mutable_grad() = at::zeros({3, 2}).t();
  EXPECT_FALSE(tuners::gradient_place(w).defined()) << "not contiguous";
}

/// What a step does with a tied embedding: looked up, met by a linear layer, and the head of a
/// loss.
at::Tensor tied_loss(const at::Tensor& weight, const at::Tensor& inner, int64_t rows, bool fused) {
  const auto ids = at::arange(rows, at::kLong).remainder(weight.size(0) - 1);
  const auto targets = ids.flip(0);
  if (fused) {
    const auto hidden =
        lora_linear(kernels::embedding(weight, ids), inner, {}, {}, {.training = true});
    return linear_cross_entropy(hidden, weight, targets, 0.5, nullptr) * 3.0;
  }
  const auto logits = at::embedding(weight, ids).matmul(inner.t()).matmul(weight.t());
  return at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum) * 1.5;
}

struct PlaceCase {
  int64_t rows, hidden, vocab;
  bool has_place;
};

class GradientPlaces : public testing::TestWithParam<PlaceCase> {};

TEST_P(GradientPlaces, SumUpWhatAutogradWould) {
  at::manual_seed(5);
  const auto& c = GetParam();
  const auto weight = draw({c.vocab, c.hidden}, at::kFloat);
  const auto inner = draw({c.hidden, c.hidden}, at::kFloat);
  const auto plain_weight = wide(weight), plain_inner = wide(inner);
  void* place = nullptr;
  if (c.has_place) {
    for (const auto& tensor : {weight, inner}) tensor.mutable_grad() = at::zeros_like(tensor);
    place = weight.grad().mutable_data_ptr();
  }
  for (int pass = 0; pass < 2; ++pass) {  // Gradient accumulation.
    tied_loss(weight, inner, c.rows, true).backward();
    tied_loss(plain_weight, plain_inner, c.rows, false).backward();
  }
  expect_close(weight.grad(), plain_weight.grad(), 5e-5, "tied weight");
  expect_close(inner.grad(), plain_inner.grad(), 5e-5, "inner weight");
  if (c.has_place) {
    EXPECT_EQ(weight.grad().mutable_data_ptr(), place);
  }
}

// Fewer rows than features, whose logits are kept; more; several chunks of either.
INSTANTIATE_TEST_SUITE_P(Shapes, GradientPlaces,
                         testing::Values(PlaceCase{5, 24, 40, true}, PlaceCase{5, 24, 40, false},
                                         PlaceCase{70, 24, 40, true}, PlaceCase{70, 24, 40, false},
                                         PlaceCase{150, 160, 60'000, true},
                                         PlaceCase{150, 160, 60'000, false},
                                         PlaceCase{150, 16, 60'000, true}));

/// 400 rows of one token, each too small to change the sum alone.
TEST(GradientPlaceTest, SmallRowsOfAnEmbeddingAreNotLostInBfloat16) {
  const auto ids = at::ones({400}, at::kLong);
  const auto rows = at::full({400, 4}, 1.0 / 512.0).to(at::kBFloat16);
  for (const double before : {0.0, 1.0}) {
    const auto weight = at::zeros({3, 4}).to(at::kBFloat16).requires_grad_(true);
    if (before > 0.0) weight.mutable_grad() = at::ones_like(weight);
    kernels::embedding(weight, ids).backward(rows);
    expect_close(weight.grad()[1], at::full({4}, before + 400.0 / 512.0), 1e-2, "the token's");
    expect_close(weight.grad()[0], at::full({4}, before), 0.0, "another's");
  }
}

TEST(GradientPlaceTest, EachLossAddsItsOwnScale) {
  at::manual_seed(8);
  const auto hidden = draw({6, 8}, at::kFloat);
  const auto weight = draw({12, 8}, at::kFloat);
  const auto targets = at::arange(6, at::kLong);
  const auto gradient_with = [&](double factor) {
    weight.mutable_grad() = at::zeros_like(weight);
    (linear_cross_entropy(hidden, weight, targets, 1.0, nullptr) * factor).backward();
    return weight.grad().clone();
  };
  expect_close(gradient_with(-2.5), gradient_with(1.0) * -2.5, 1e-5, "scaled");
}

}  // namespace
}  // namespace tunefleet::kernels

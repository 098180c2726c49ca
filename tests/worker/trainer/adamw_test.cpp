#include "worker/trainer/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <stdexcept>

namespace tunefleet::trainer {
namespace {

/// A matrix that decays and a vector that does not, at twice the learning rate.
std::vector<OptimizerGroup> two_tensors() {
  at::manual_seed(2);
  return {{.tensors = {{"w", at::randn({6, 5}).requires_grad_(true), true}},
           .lr_scale = 1.0,
           .weight_decay = 0.1},
          {.tensors = {{"b", at::randn({7}).requires_grad_(true), false}},
           .lr_scale = 2.0,
           .weight_decay = 0.0}};
}

const at::Tensor& tensor_of(const std::vector<OptimizerGroup>& groups, size_t i) {
  return groups[i].tensors[0].tensor;
}

void set_gradients(const std::vector<OptimizerGroup>& groups, int64_t step) {
  at::manual_seed(100 + step);
  for (const auto& group : groups) {
    for (const auto& entry : group.tensors)
      entry.tensor.mutable_grad() = at::randn(entry.tensor.sizes());
  }
}

Optimizer::NamedTensors copy_of(const Optimizer::NamedTensors& state) {
  Optimizer::NamedTensors copy;
  for (const auto& [name, tensor] : state) copy.emplace_back(name, tensor.clone());
  return copy;
}

TEST(AdamWTest, AStepMovesTheVersionOfWhatItChanges) {
  const auto set = two_tensors();
  AdamW ours(set, {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8});
  set_gradients(set, 0);
  const auto before = tensor_of(set, 0)._version();
  ours.step(1e-2);
  EXPECT_GT(tensor_of(set, 0)._version(), before);
}

TEST(AdamWTest, StepsAreTorchsOwn) {
  const auto set = two_tensors();
  const auto copy = two_tensors();
  AdamW ours(set, {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8});
  const auto options = [](double lr, double decay) {
    return torch::optim::AdamWOptions(lr).betas({0.9, 0.95}).eps(1e-8).weight_decay(decay);
  };
  torch::optim::AdamW decaying({tensor_of(copy, 0)}, options(1e-2, 0.1));
  torch::optim::AdamW plain({tensor_of(copy, 1)}, options(2e-2, 0.0));
  for (int64_t step = 0; step < 25; ++step) {
    set_gradients(set, step);
    set_gradients(copy, step);
    ours.step(1e-2);
    decaying.step();
    plain.step();
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(at::allclose(tensor_of(set, i), tensor_of(copy, i), 1e-6, 1e-7))
        << set[i].tensors[0].path;
  }
}

TEST(AdamWTest, SavedAndLoadedGoesOnBitForBit) {
  const auto whole = two_tensors();
  const auto stopped = two_tensors();
  AdamW straight(whole, {});
  AdamW first(stopped, {});
  for (int64_t step = 0; step < 3; ++step) {
    set_gradients(whole, step);
    set_gradients(stopped, step);
    straight.step(1e-2);
    first.step(1e-2);
  }
  const auto saved = copy_of(first.state());
  AdamW second(stopped, {});
  second.load(saved);
  set_gradients(whole, 3);
  set_gradients(stopped, 3);
  straight.step(1e-2);
  second.step(1e-2);
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(tensor_of(whole, i), tensor_of(stopped, i)));
}

TEST(AdamWTest, ATensorThatIsAwayKeepsItsState) {
  auto groups = two_tensors();
  const auto alone = two_tensors();
  AdamW both(groups, {});
  AdamW one({alone[0]}, {});
  for (int64_t step = 0; step < 8; ++step) {
    const bool away = step == 2 || step == 3;
    both.set_groups(away ? std::vector{groups[1]} : groups);
    set_gradients(groups, step);
    set_gradients(alone, step);
    both.step(1e-2);
    if (!away) one.step(1e-2);
  }
  EXPECT_TRUE(at::equal(tensor_of(groups, 0), tensor_of(alone, 0)));
  // What is away is saved too, and what never stepped is saved as such.
  both.set_groups({groups[1], {.tensors = {{"late", at::ones({3}).requires_grad_(true)}}}});
  const auto saved = copy_of(both.state());
  EXPECT_EQ(saved.size(), 3 + 3 + 1);
  AdamW again({groups[0], groups[1], {.tensors = {{"late", at::ones({3}).requires_grad_(true)}}}},
              {});
  again.load(saved);
  EXPECT_EQ(again.state().size(), saved.size());
}

TEST(AdamWTest, ATensorWithoutGradientIsPassedOver) {
  const auto groups = two_tensors();
  const auto before = tensor_of(groups, 0).detach().clone();
  AdamW optimizer(groups, {});
  tensor_of(groups, 1).mutable_grad() = at::ones({7});
  optimizer.step(1e-2);
  EXPECT_TRUE(at::equal(tensor_of(groups, 0), before));
}

TEST(AdamWTest, OneTensorAloneStepsAsAllDo) {
  const auto together = two_tensors();
  const auto apart = two_tensors();
  AdamW one(together, {});
  AdamW other(apart, {});
  set_gradients(together, 0);
  set_gradients(apart, 0);
  one.step(1e-2);
  other.step_one("b", 1e-2);
  other.step_one("w", 1e-2);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(at::equal(tensor_of(together, i), tensor_of(apart, i)));
  EXPECT_THROW(other.step_one("x", 1e-2), std::invalid_argument);
}

/// What is thrown when `state` is loaded.
std::string refusal(AdamW& optimizer, const Optimizer::NamedTensors& state) {
  try {
    optimizer.load(state);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(AdamWTest, AStateOfOtherTensorsIsRefused) {
  const auto groups = two_tensors();
  AdamW optimizer(groups, {});
  set_gradients(groups, 0);
  optimizer.step(1e-2);
  auto state = copy_of(optimizer.state());
  state.emplace_back("z.step", at::zeros({}));
  EXPECT_THAT(refusal(optimizer, state), testing::HasSubstr("of other tensors: z.step"));
  state.pop_back();
  ASSERT_EQ(state.back().first, "w.exp_avg_sq");
  state.back().second = at::zeros({6, 6});
  EXPECT_THAT(refusal(optimizer, state), testing::HasSubstr("another shape: w.exp_avg_sq"));
  state.pop_back();
  EXPECT_THAT(refusal(optimizer, state), testing::HasSubstr("lacks a tensor: w.exp_avg_sq"));
}

}  // namespace
}  // namespace tunefleet::trainer

#include "worker/trainer/adamw.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <stdexcept>

namespace tunefleet::trainer {
namespace {

tuners::TrainableSet two_tensors() {
  torch::manual_seed(2);
  return {{{"w", torch::randn({6, 5}).requires_grad_(true), true},
           {"b", torch::randn({7}).requires_grad_(true), false}},
          0};
}

void set_gradients(const tuners::TrainableSet& set, int64_t step) {
  torch::manual_seed(100 + step);
  for (const auto& entry : set.tensors)
    entry.tensor.mutable_grad() = torch::randn(entry.tensor.sizes());
}

TEST(AdamWTest, StepsAreTorchsOwn) {
  const auto set = two_tensors();
  const auto copy = two_tensors();
  AdamW ours(set, {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1});
  const auto options = [](double decay) {
    return torch::optim::AdamWOptions(1e-2).betas({0.9, 0.95}).eps(1e-8).weight_decay(decay);
  };
  torch::optim::AdamW decaying({copy.tensors[0].tensor}, options(0.1));
  torch::optim::AdamW plain({copy.tensors[1].tensor}, options(0.0));
  for (int64_t step = 0; step < 25; ++step) {
    set_gradients(set, step);
    set_gradients(copy, step);
    ours.step(1e-2);
    decaying.step();
    plain.step();
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(torch::allclose(set.tensors[i].tensor, copy.tensors[i].tensor, 1e-6, 1e-7))
        << set.tensors[i].path;
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
  AdamW::NamedTensors saved;
  for (const auto& [name, tensor] : first.state()) saved.emplace_back(name, tensor.clone());
  AdamW second(stopped, {});
  second.load(saved, 3);
  set_gradients(whole, 3);
  set_gradients(stopped, 3);
  straight.step(1e-2);
  second.step(1e-2);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(torch::equal(whole.tensors[i].tensor, stopped.tensors[i].tensor));
}

TEST(AdamWTest, AStateOfOtherTensorsIsRefused) {
  AdamW optimizer(two_tensors(), {});
  auto state = optimizer.state();
  state[0].second = torch::zeros({6, 6});
  EXPECT_THROW(optimizer.load(state, 1), std::invalid_argument);
  state.erase(state.begin());
  try {
    optimizer.load(state, 1);
    FAIL() << "nothing was thrown";
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("w.exp_avg"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace tunefleet::trainer

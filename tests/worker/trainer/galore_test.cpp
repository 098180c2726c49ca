#include "worker/trainer/galore.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/tuners/ms_swift_case.h"

namespace tunefleet::trainer {
namespace {

/// Ours after a vector's sign has been taken from the other's: a sign is the library's choice.
void expect_same_vectors(const at::Tensor& ours, const at::Tensor& theirs, int64_t dim,
                         const std::string& what) {
  ASSERT_EQ(ours.sizes(), theirs.sizes()) << what;
  const auto sign = (ours * theirs).sum(dim, /*keepdim=*/true).sign();
  EXPECT_TRUE(at::allclose(ours * sign, theirs, 1e-4, 1e-5)) << what;
}

std::vector<OptimizerGroup> golden_groups(std::map<std::string, at::Tensor>& weights,
                                          const nlohmann::json& adamw) {
  OptimizerGroup projected{.tensors = {}, .weight_decay = adamw["weight_decay"]};
  for (const auto* name : {"tall", "wide", "square"})
    projected.tensors.push_back({name, weights.at(name), true});
  return {projected, {.tensors = {{"plain", weights.at("plain"), false}}}};
}

class GaloreValues : public testing::TestWithParam<std::string> {};

TEST_P(GaloreValues, AreMsSwifts) {
  const tuners::MsSwiftCase golden("galore_" + GetParam());
  const auto& adamw = golden.facts["adamw"];
  const auto& galore = golden.facts["galore"];
  std::map<std::string, at::Tensor> weights;
  for (const auto* name : {"tall", "wide", "square", "plain"})
    weights[name] = golden[std::string("start.") + name].clone().requires_grad_(true);
  Galore optimizer(
      golden_groups(weights, adamw),
      {.rule = {.beta1 = adamw["betas"][0], .beta2 = adamw["betas"][1], .epsilon = adamw["eps"]},
       .galore = {.rank = galore["rank"],
                  .update_proj_gap = galore["update_proj_gap"],
                  .scale = galore["scale"],
                  .proj_type = golden.facts["proj_type"]},
       .is_projected = [](const std::string&) { return true; }});
  for (int step = 0; step < 7; ++step) {
    const std::string at = "." + std::to_string(step) + ".";
    for (auto& [name, weight] : weights) weight.mutable_grad() = golden["grad" + at + name].clone();
    optimizer.step(adamw["lr"]);
    for (const auto& [name, tensor] : optimizer.state()) {
      const auto dot = name.find('.');
      const bool left = name.ends_with("projector_left");
      if (!left && !name.ends_with("projector_right")) continue;
      std::string wanted = "projector" + at + name.substr(0, dot);
      if (GetParam() == "full") wanted += left ? ".left" : ".right";
      expect_same_vectors(tensor, golden[wanted], left ? 0 : 1, wanted);
    }
    for (auto& [name, weight] : weights) {
      if (GetParam() == "full" && step == 0 && weight.dim() == 2) {
        // A gradient in the coordinates of its own singular vectors is diagonal: Adam blows the
        // rounding beside the diagonal up to whole steps, on either side. Later steps compare.
        const at::NoGradGuard no_grad;
        weight.copy_(golden["weight" + at + name]);
        continue;
      }
      EXPECT_TRUE(at::allclose(weight, golden["weight" + at + name], 1e-5, 1e-6))
          << name << " after step " << step << ": "
          << (weight - golden["weight" + at + name]).abs().max().item<double>();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ProjTypes, GaloreValues,
                         testing::Values("std", "reverse_std", "left", "right", "full"));

TEST(QGaloreProjector, IsTheirs) {
  const tuners::MsSwiftCase golden("q_galore");
  const auto& settings = golden.facts["projector"];
  for (const std::string name : {"tall", "wide"}) {
    GaloreProjector projector({.rank = settings["rank"],
                               .update_proj_gap = settings["update_proj_gap"],
                               .scale = settings["scale"],
                               .quantization = true,
                               .proj_quant = true,
                               .proj_bits = settings["n_bit"],
                               .proj_group_size = settings["group_size"],
                               .cos_threshold = settings["cos_threshold"],
                               .gamma_proj = settings["gamma_proj"],
                               .queue_size = settings["queue_size"]},
                              name);
    for (int step = 0; step < 12; ++step) {
      const std::string at = "." + std::to_string(step) + "." + name;
      const auto low = projector.project(golden["grad" + at], step);
      EXPECT_TRUE(at::allclose(low, golden["low" + at], 1e-4, 1e-5)) << at;
      EXPECT_TRUE(at::allclose(projector.project_back(low), golden["back" + at], 1e-4, 1e-5)) << at;
      EXPECT_EQ(projector.gap(), golden.facts["gap"][name][step].get<int64_t>()) << at;
      EXPECT_EQ(projector.searches(), golden.facts["refreshes"][name][step].get<int64_t>()) << at;
      Optimizer::NamedTensors state;
      projector.append_state("", state);
      const std::map<std::string, at::Tensor> kept(state.begin(), state.end());
      const std::string side = name == "tall" ? "projector_right" : "projector_left";
      const auto pairs = kept.at(side + ".codes");
      const auto codes = at::stack({pairs & 15, pairs.bitwise_right_shift(4)}, 1).view(-1);
      EXPECT_TRUE(at::equal(codes, golden["projector" + at].view(-1))) << at;
      EXPECT_TRUE(at::allclose(kept.at(side + ".scales"), golden["projector_scale" + at].view(-1),
                               1e-4, 1e-6));
    }
  }
}

OptimizerGroup random_group(int64_t seed, double decay) {
  at::manual_seed(seed);
  return {.tensors = {{"w", at::randn({40, 24}).requires_grad_(true)},
                      {"v", at::randn({24, 72}).requires_grad_(true)},
                      {"n", at::randn({40}).requires_grad_(true), false}},
          .weight_decay = decay};
}

void set_gradients(const OptimizerGroup& group, int64_t step) {
  at::manual_seed(100 + step);
  for (const auto& entry : group.tensors)
    entry.tensor.mutable_grad() = at::randn(entry.tensor.sizes());
}

Galore::Options options_of(RuleKind kind, int64_t rank) {
  return {.rule = {.kind = kind},
          .galore = {.rank = rank, .update_proj_gap = 2},
          .is_projected = [](const std::string&) { return true; }};
}

TEST(GaloreProjector, AllDirectionsHoldTheGradient) {
  at::manual_seed(3);
  const auto gradient = at::randn({24, 40});
  for (const auto* type : {"std", "reverse_std", "left", "right", "full"}) {
    GaloreProjector projector({.rank = 24, .scale = 2.0, .proj_type = type}, "w");
    const auto back = projector.project_back(projector.project(gradient, 0));
    EXPECT_TRUE(at::allclose(back, 2.0 * gradient, 1e-4, 1e-4)) << type;
  }
}

class GaloreRules : public testing::TestWithParam<RuleKind> {};

TEST_P(GaloreRules, SavedAndLoadedGoOnBitForBit) {
  for (const bool quantised : {false, true}) {
    auto options = options_of(GetParam(), 6);
    options.galore.quantization = options.galore.proj_quant = quantised;
    options.galore.proj_group_size = 7;
    options.galore.queue_size = 1;
    options.galore.cos_threshold = -1.0;
    const auto whole = random_group(1, 0.1);
    const auto stopped = random_group(1, 0.1);
    Galore straight({whole}, options);
    Galore first({stopped}, options);
    for (int64_t step = 0; step < 5; ++step) {
      set_gradients(whole, step);
      set_gradients(stopped, step);
      straight.step(1e-2);
      first.step(1e-2);
    }
    Optimizer::NamedTensors saved;
    for (const auto& [name, tensor] : first.state()) saved.emplace_back(name, tensor.clone());
    Galore second({stopped}, options);
    second.load(saved);
    for (int64_t step = 5; step < 9; ++step) {
      set_gradients(whole, step);
      set_gradients(stopped, step);
      straight.step(1e-2);
      second.step(1e-2);
    }
    for (size_t i = 0; i < whole.tensors.size(); ++i) {
      EXPECT_TRUE(at::equal(whole.tensors[i].tensor, stopped.tensors[i].tensor))
          << whole.tensors[i].path << quantised;
    }
    EXPECT_EQ(straight.projector("w")->gap(), second.projector("w")->gap());
  }
}

TEST_P(GaloreRules, AStateOfAnotherRankIsRefused) {
  const auto group = random_group(1, 0.0);
  Galore six({group}, options_of(GetParam(), 6));
  set_gradients(group, 0);
  six.step(1e-2);
  Galore four({group}, options_of(GetParam(), 4));
  EXPECT_THROW(four.load(six.state()), std::invalid_argument);
}

TEST_P(GaloreRules, AQuadraticFallsInEachSubspace) {
  // |W - T|^2 with T of rank 6: its gradients lie in a subspace that GaLore holds whole.
  at::manual_seed(5);
  const auto target = at::randn({40, 6}).matmul(at::randn({6, 24}));
  OptimizerGroup group{.tensors = {{"w", at::zeros({40, 24}).requires_grad_(true)}}};
  const auto& w = group.tensors[0].tensor;
  for (const auto* svd : {"exact", "randomized"}) {
    {
      at::NoGradGuard no_grad;
      w.zero_();
    }
    auto options = options_of(GetParam(), 6);
    options.galore.svd = svd;
    options.galore.update_proj_gap = 20;
    Galore optimizer({group}, options);
    for (int step = 0; step < 300; ++step) {
      w.mutable_grad() = 2.0 * (w - target).detach();
      optimizer.step(1.0 - step / 300.0);
    }
    EXPECT_LT((w - target).norm().item<double>(), 0.05 * target.norm().item<double>()) << svd;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GaloreRules,
                         testing::Values(RuleKind::kAdam, RuleKind::kAdam8Bit,
                                         RuleKind::kAdafactor));

TEST(Galore, RandomizedVectorsSpanTheExactOnes) {
  at::manual_seed(6);
  for (const auto& [rows, columns] : {std::pair(60, 40), {40, 60}, {50, 50}}) {
    // Singular values that fall by a tenth each, as gradients' do.
    const auto decay = at::pow(0.9, at::arange(40.0));
    const auto u = std::get<0>(at::linalg_qr(at::randn({rows, 40})));
    const auto v = std::get<0>(at::linalg_qr(at::randn({columns, 40})));
    const auto gradient = u.mul(decay).matmul(v.t());
    GaloreProjector exact({.rank = 8}, "w");
    GaloreProjector randomized({.rank = 8, .svd = "randomized"}, "w");
    const auto wanted = exact.project_back(exact.project(gradient, 0));
    const auto got = randomized.project_back(randomized.project(gradient, 0));
    EXPECT_LT((wanted - got).norm().item<double>(), 0.02 * wanted.norm().item<double>());
    GaloreProjector again({.rank = 8, .svd = "randomized"}, "w");
    EXPECT_TRUE(at::equal(again.project_back(again.project(gradient, 0)), got));
  }
}

TEST(Galore, KeepsLessThanAdam) {
  OptimizerGroup group{.tensors = {{"w", at::randn({256, 512}).requires_grad_(true)}}};
  group.tensors[0].tensor.mutable_grad() = at::randn({256, 512});
  const auto bytes = [&](bool projected, RuleKind kind, bool quantised) {
    auto options = options_of(kind, 16);
    options.galore.proj_quant = quantised;
    options.is_projected = [projected](const std::string&) { return projected; };
    Galore optimizer({group}, options);
    optimizer.step(1e-3);
    return optimizer.state_bytes();
  };
  const int64_t numbers = 256 * 512;
  const auto adam = bytes(false, RuleKind::kAdam, false);
  EXPECT_EQ(adam, 2 * 4 * numbers + 8);
  EXPECT_EQ(bytes(true, RuleKind::kAdam, false), 4 * (256 * 16 + 2 * 16 * 512) + 8);
  EXPECT_LT(bytes(false, RuleKind::kAdam8Bit, false), adam / 4 + adam / 100);
  // 4-bit projector, 8-bit moments.
  EXPECT_LT(bytes(true, RuleKind::kAdam8Bit, true), 16 * 256 / 2 + 2 * 16 * 512 + 1200);
}

TEST(Galore, TakesOneTensorAsItTakesAll) {
  const auto together = random_group(1, 0.1);
  const auto apart = random_group(1, 0.1);
  Galore one({together}, options_of(RuleKind::kAdam, 4));
  Galore other({apart}, options_of(RuleKind::kAdam, 4));
  for (int64_t step = 0; step < 3; ++step) {
    set_gradients(together, step);
    set_gradients(apart, step);
    one.step(1e-2);
    for (const auto* path : {"n", "v", "w"}) other.step_one(path, 1e-2);
  }
  for (size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(at::equal(together.tensors[i].tensor, apart.tensors[i].tensor));
  EXPECT_THROW(other.step_one("x", 1e-2), std::invalid_argument);
}

TEST(Galore, StepsAnInt8WeightInExpectation) {
  at::manual_seed(8);
  const auto start = at::randn({32, 64});
  auto weight = std::make_shared<tuners::Int8Weight>(start);
  OptimizerGroup group{.tensors = {{"w", weight->stand_in(), true, weight}}};
  auto options = options_of(RuleKind::kAdam, 8);
  options.is_projected = [](const std::string&) { return false; };
  Galore optimizer({group}, options);
  // A constant gradient makes Adam's step the learning rate, here a fortieth of a code's width.
  const double code = 4.0 / 255, lr = code / 40;
  const auto before = weight->read();
  for (int step = 0; step < 200; ++step) {
    weight->stand_in().mutable_grad() = at::ones({32, 64});
    optimizer.step(lr);
  }
  const auto moved = (before - weight->read()).mean().item<double>();
  EXPECT_NEAR(moved, 200 * lr, 0.03 * 200 * lr);
}

}  // namespace
}  // namespace tunefleet::trainer

#include "tuners/reft.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/optim/adamw.h>
#include <gmock/gmock.h>

#include "tests/tuners/ms_swift_case.h"

namespace tunefleet::tuners {
namespace {

struct ReftCase {
  const char* name;  ///< tests/oracle/reft/<name>.safetensors
  const char* type;
  const char* args = "{}";
};

/// Compared with tests/oracle/reft_values.py.
class ReftInterventionTest : public testing::TestWithParam<ReftCase> {
 protected:
  void SetUp() override {
    const at::NoGradGuard no_grad;
    for (const auto& each : intervention_.tensors()) each.tensor.copy_(values_.at(each.name));
  }
  static ReftOptions options() {
    return {.r = 3, .intervention_type = GetParam().type, .args = {GetParam().args}};
  }
  at::Tensor output() const {
    const auto h = values_.at("h");
    return intervention_.forward(h, [](const at::Tensor& x) { return x; }, {.training = true});
  }
  at::Tensor loss() const { return output().sub(values_.at("target")).square().mean(); }
  std::map<std::string, at::Tensor> tensors() const {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& each : intervention_.tensors()) tensors[each.name] = each.tensor;
    return tensors;
  }

  const std::map<std::string, at::Tensor> values_ = read_tensors(
      std::filesystem::path("tests/oracle/reft") / (std::string(GetParam().name) + ".safetensors"));
  const ReftIntervention intervention_{12, options(), *reft_arguments(options()),
                                       TunerPlace{.path = "layer.reft", .seed = 1}};
};

TEST_P(ReftInterventionTest, GivesTheFormulasOutputAndGradients) {
  EXPECT_LT(largest_difference(output(), values_.at("output")), 1e-5);
  const auto value = loss();
  EXPECT_NEAR(value.item<double>(), values_.at("loss").item<double>(), 1e-6);
  value.backward();
  const auto trained = tensors();
  size_t gradients = 0;
  for (const auto& [key, wanted] : values_) {
    if (!key.starts_with("grad.")) continue;
    ++gradients;
    EXPECT_LT(largest_difference(trained.at(key.substr(5)).grad(), wanted), 1e-5) << key;
  }
  EXPECT_EQ(trained.size(), gradients);
}

TEST_P(ReftInterventionTest, ThreeStepsOfTrainingEndAtTheSameValues) {
  const auto trained = tensors();
  std::vector<at::Tensor> list;
  for (const auto& [key, tensor] : trained) list.push_back(tensor);
  torch::optim::AdamW optimizer(list, torch::optim::AdamWOptions(1e-2).eps(1e-6).weight_decay(0));
  for (int step = 0; step < 4; ++step) {
    optimizer.zero_grad();
    const auto value = loss();
    EXPECT_NEAR(value.item<double>(), values_.at("losses")[step].item<double>(), 1e-5);
    if (step == 3) break;
    value.backward();
    optimizer.step();
  }
  for (const auto& [key, tensor] : tensors())
    EXPECT_LT(largest_difference(tensor, values_.at("step3." + key)), 1e-5) << key;
}

TEST_P(ReftInterventionTest, WhatIsSavedHasOrthonormalColumnsAndTheSameOutput) {
  if (!tensors().contains("rotate_layer.weight")) GTEST_SKIP() << "has no rotation";
  {
    const at::NoGradGuard no_grad;
    tensors().at("rotate_layer.weight").add_(at::randn({12, 3}).mul(0.2));
  }
  const auto before = output();
  const auto r = tensors().at("rotate_layer.weight");
  EXPECT_TRUE(at::allclose(r.t().matmul(r), at::eye(3), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(output(), before, 1e-4, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ReftInterventionTest,
    testing::Values(
        ReftCase{"loreft", "LoreftIntervention"},
        ReftCase{"loreft_gelu", "LoreftIntervention", R"({"act_fn": "gelu_new"})"},
        ReftCase{"direft", "DireftIntervention"}, ReftCase{"consreft", "ConsreftIntervention"},
        ReftCase{"lobireft", "LobireftIntervention"}, ReftCase{"noreft", "NoreftIntervention"},
        ReftCase{"noreft_bias", "NoreftIntervention", R"({"act_fn": "relu", "add_bias": true})"},
        ReftCase{"nodireft", "NodireftIntervention", R"({"act_fn": "tanh"})"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ReftOptionsTest, ArgsAreAnObjectOfKnownKeys) {
  const auto error = [](const std::string& args) {
    const auto read = reft_arguments({.args = {args}});
    return read ? std::string() : read.error().message;
  };
  EXPECT_EQ(error(R"({"dropout": 0.5, "act_fn": null, "add_bias": false})"), "");
  EXPECT_THAT(error("[1]"), testing::HasSubstr("not a JSON object: [1]"));
  EXPECT_THAT(error(R"({"dropuot": 0.5})"), testing::HasSubstr("dropuot"));
  EXPECT_THAT(error(R"({"dropout": 1.0})"), testing::HasSubstr("dropout 1.0"));
  EXPECT_THAT(error(R"({"act_fn": "gelo"})"), testing::HasSubstr("\"gelo\""));
}

TEST(ReftOptionsTest, TakesArgsAsTextAsAJobHasThem) {
  const auto options =
      options_from_json(ReftOptions::schema(), R"({"args": "{\"dropout\": 0.5}"})", "job");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(reft_arguments(options->as<ReftOptions>())->dropout, 0.5);
}

}  // namespace
}  // namespace tunefleet::tuners

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/worker/trainer/small_llama.h"
#include "tuners/config/bottleneck_options.h"
#include "tuners/config/lora_options.h"
#include "worker/trainer/make_optimizer.h"

namespace tunefleet::trainer {
namespace {

using tuners::LoraOptions;

LoraOptions lora(std::vector<std::string> targets, std::vector<std::string> saved,
                 std::optional<double> ratio) {
  LoraOptions options;
  options.target_modules.names = std::move(targets);
  options.modules_to_save = std::move(saved);
  options.lorap_lr_ratio = ratio;
  return options;
}

LoraOptions with_embedding_rate(LoraOptions options, double rate) {
  options.lorap_emb_lr = rate;
  return options;
}

struct Case {
  std::string name;
  tuners::TunerOptions options;
};

void PrintTo(const Case& each, std::ostream* out) { *out << each.name; }

class LoraPlusGroups : public testing::TestWithParam<Case> {};

/// Order, rates, decay and members are ms-swift's, less its empty groups.
TEST_P(LoraPlusGroups, AreMsSwifts) {
  const tuners::MsSwiftCase golden("lora_plus");
  const auto model = small_llama();
  tuners::SwiftModel swift(*model);
  const auto added = swift.add_adapter("default", GetParam().options);
  ASSERT_TRUE(added) << added.error().message;
  const double lr = golden.facts["lr"];
  const auto groups = swift.create_optimizer_param_groups(lr, golden.facts["weight_decay"]);
  size_t i = 0;
  for (const auto& wanted : golden.facts["groups"][GetParam().name]) {
    if (wanted["names"].empty()) continue;
    ASSERT_LT(i, groups.size());
    std::set<std::string> names;
    for (const auto& entry : groups[i].tensors) names.insert(entry.path);
    EXPECT_EQ(names, wanted["names"].get<std::set<std::string>>());
    EXPECT_NEAR(groups[i].lr, wanted["lr"].is_null() ? lr : wanted["lr"].get<double>(), 1e-12);
    EXPECT_EQ(groups[i].weight_decay, wanted["weight_decay"].get<double>());
    ++i;
  }
  EXPECT_EQ(i, groups.size());
}

INSTANTIATE_TEST_SUITE_P(
    Cases, LoraPlusGroups,
    testing::Values(
        Case{"linear", lora({"q_proj", "up_proj"}, {}, 16.0)},
        Case{"embedding", with_embedding_rate(lora({"q_proj", "embed_tokens"}, {}, 4.0), 5e-6)},
        Case{"saved", lora({"q_proj"}, {"model.norm", "lm_head"}, 16.0)},
        Case{"off", lora({"q_proj"}, {}, std::nullopt)},
        Case{"adapter", tuners::BottleneckOptions{.adapter_length = 8}},
        Case{"llama_norms", lora({"q_proj"}, {"input_layernorm", "embed_tokens"}, 2.0)}),
    [](const auto& info) { return info.param.name; });

/// The optimizer of a job takes the groups: B moves by the ratio as far as A in Adam's first step.
TEST(MakeOptimizer, UsesLoraPlus) {
  const auto model = small_llama();
  tuners::SwiftModel swift(*model);
  auto options = lora({"q_proj"}, {}, 8.0);
  options.init_lora_weights = "false";
  ASSERT_TRUE(swift.add_adapter("default", options));
  JobSpec spec;
  spec.weight_decay = 0.0;
  const auto optimizer = make_optimizer(swift, spec);
  std::map<std::string, at::Tensor> before;
  for (const auto& entry : swift.trainable_set().tensors)
    before[entry.path] = entry.tensor.detach().clone();
  mean_loss(*model, some_rows()).backward();
  optimizer->step(1e-3);
  for (const auto& entry : swift.trainable_set().tensors) {
    const double moved = (entry.tensor - before[entry.path]).abs().median().item<double>();
    const bool is_b = entry.path.find("lora_B") != std::string::npos;
    EXPECT_NEAR(moved, is_b ? 8e-3 : 1e-3, is_b ? 8e-5 : 1e-5) << entry.path;
  }
}

TEST(MakeOptimizer, ProjectsTheWeightsThatGaloreTargets) {
  const auto model = small_llama();
  FullyTuned tuned(*model);
  const auto projected = [&](JobSpec spec) {
    spec.use_galore = true;
    spec.galore_rank = 2;
    const auto optimizer = make_optimizer(tuned.swift, spec);
    mean_loss(*model, some_rows()).backward();
    optimizer->step(1e-4);
    std::set<std::string> paths;
    for (const auto& [name, tensor] : optimizer->state()) {
      const size_t at = name.find(".projector_");
      if (at != std::string::npos) paths.insert(name.substr(0, at));
    }
    return paths;
  };
  EXPECT_EQ(projected({}).size(), 4U * 7U);
  EXPECT_FALSE(projected({}).contains("lm_head.weight"));
  JobSpec with_embedding;
  with_embedding.galore_with_embedding = true;
  EXPECT_TRUE(projected(with_embedding).contains("model.embed_tokens.weight"));
  JobSpec some;
  some.galore_target_modules = {"down_proj", "lm_head"};
  EXPECT_EQ(projected(some).size(), 5U);
  some.galore_target_modules = {"conv"};
  EXPECT_THROW(projected(some), std::invalid_argument);
}

}  // namespace
}  // namespace tunefleet::trainer

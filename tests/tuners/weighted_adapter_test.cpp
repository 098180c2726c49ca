#include "tuners/weighted_adapter.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/tuners/tiny_model.h"
#include "tuners/swift.h"
#include "tuners/task_arithmetic.h"

namespace tunefleet::tuners {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LoraOptions lora(int64_t r, double alpha, bool rslora = false) {
  return {.r = r,
          .lora_alpha = alpha,
          .target_modules = {.names = {"q_proj", "up_proj"}},
          .use_rslora = rslora};
}

class WeightedAdapterTest : public testing::Test {
 protected:
  void SetUp() override {
    add("a", lora(2, 3.0));
    add("b", lora(2, 5.0));
    add("c", lora(3, 2.0, /*rslora=*/true));
  }
  void add(const std::string& name, const LoraOptions& options) {
    const Status status = swift_.add_adapter(name, options);
    ASSERT_TRUE(status) << status.error().message;
    randomise(*swift_.find_adapter(name));
  }
  Status combine(const std::vector<std::string>& names, const std::vector<double>& weights,
                 const Combination& how) {
    return swift_.add_weighted_adapter(names, weights, "both", how);
  }
  at::Tensor delta(const std::string& name, const std::string& path) {
    const Adapter& adapter = *swift_.find_adapter(name);
    for (const auto& part : adapter.linear_tuners()) {
      if (part.site->path == path) return adapter.delta_weight(part);
    }
    throw std::out_of_range(path);
  }

  TinyModel model_;
  SwiftModel swift_{model_};
};

constexpr const char* kPath = "model.layers.1.mlp.up_proj";

TEST_F(WeightedAdapterTest, CatAndFullRankSvdAreTheWeightedSum) {
  for (const Combination& how : {Combination{.combination_type = "cat"},
                                 Combination{.combination_type = "svd", .svd_rank = 6}}) {
    const auto status = combine({"a", "b", "c"}, {0.7, -0.4, 2.0}, how);
    ASSERT_TRUE(status) << status.error().message;
    const at::Tensor wanted =
        delta("a", kPath).mul(0.7) - delta("b", kPath).mul(0.4) + delta("c", kPath).mul(2.0);
    EXPECT_TRUE(at::allclose(delta("both", kPath), wanted, 1e-5, 1e-6)) << how.combination_type;
    EXPECT_THAT(swift_.active_adapters(), ElementsAre("both"));
    ASSERT_TRUE(swift_.delete_adapter("both"));
  }
}

TEST_F(WeightedAdapterTest, SvdOfSmallerRankIsTheBestThereIs) {
  ASSERT_TRUE(combine({"a", "b"}, {1.0, 1.0}, {.svd_rank = 1}));
  const at::Tensor sum = delta("a", kPath) + delta("b", kPath);
  const at::Tensor values = std::get<1>(at::linalg_svd(sum, false));
  const double left = (sum - delta("both", kPath)).norm().item<double>();
  EXPECT_NEAR(left, values.slice(0, 1).norm().item<double>(), 1e-5);
}

TEST_F(WeightedAdapterTest, LinearHasTheCrossTermsThatTheFormulaHas) {
  ASSERT_TRUE(combine({"a", "b"}, {1.0, 1.0}, {.combination_type = "linear"}));
  const at::Tensor sum = delta("a", kPath) + delta("b", kPath);
  EXPECT_FALSE(at::allclose(delta("both", kPath), sum, 1e-2, 1e-2));
}

TEST_F(WeightedAdapterTest, OneAdapterAloneIsItselfWeighted) {
  for (const double weight : {0.5, -2.0}) {
    ASSERT_TRUE(combine({"a"}, {weight}, {.combination_type = "svd"}));
    EXPECT_TRUE(at::allclose(delta("both", kPath), delta("a", kPath).mul(weight), 1e-5, 1e-6));
    ASSERT_TRUE(swift_.delete_adapter("both"));
  }
}

TEST_F(WeightedAdapterTest, EveryTypeKeepsItsResultFinite) {
  for (const auto& type : combination_types()) {
    ASSERT_TRUE(combine({"a", "b"}, {1.0, 0.5}, {.combination_type = type, .density = 0.5}))
        << type;
    EXPECT_TRUE(at::isfinite(delta("both", kPath)).all().item<bool>()) << type;
    EXPECT_GT(delta("both", kPath).abs().max().item<double>(), 0.0) << type;
    ASSERT_TRUE(swift_.delete_adapter("both"));
  }
}

TEST_F(WeightedAdapterTest, RefusalsNameWhatIsWrongAndChangeNothing) {
  const auto refusal = [&](const std::vector<std::string>& names,
                           const std::vector<double>& weights, const Combination& how) {
    const auto status = combine(names, weights, how);
    EXPECT_FALSE(status);
    EXPECT_EQ(swift_.find_adapter("both"), nullptr);
    return status ? "" : status.error().message;
  };
  EXPECT_THAT(refusal({"a", "c"}, {1, 1}, {.combination_type = "linear"}), HasSubstr("2, 3"));
  EXPECT_THAT(refusal({"a", "b"}, {1, 1}, {.combination_type = "ties"}), HasSubstr("density"));
  EXPECT_THAT(refusal({"a", "b"}, {1, 1}, {.combination_type = "tie"}), HasSubstr("ties_svd"));
  EXPECT_THAT(refusal({"a", "b"}, {1}, {}), HasSubstr("1 weights for 2"));
  EXPECT_THAT(refusal({"a", "nobody"}, {1, 1}, {}), HasSubstr("nobody"));
  EXPECT_THAT(refusal({}, {}, {}), HasSubstr("no adapters"));
  const auto taken = swift_.add_weighted_adapter({"a", "b"}, {1, 1}, "c");
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kConflict);
}

TEST_F(WeightedAdapterTest, TrainedCopiesComeAlong) {
  LoraOptions options = lora(2, 1.0);
  options.modules_to_save = {"lm_head"};
  add("head", options);
  ASSERT_TRUE(combine({"a", "head"}, {1.0, 1.0}, {.combination_type = "cat"}));
  const auto saved = [&](const std::string& name) {
    for (const auto& entry : swift_.find_adapter(name)->tensors()) {
      if (entry.key == "lm_head.weight") return entry.tensor;
    }
    return at::Tensor();
  };
  EXPECT_TRUE(at::equal(saved("both"), saved("head")));
}

TEST_F(WeightedAdapterTest, EachLayerIsTheSumOfThoseThatUpdateIt) {
  LoraOptions first = lora(2, 3.0);
  first.layers_to_transform = {0};
  LoraOptions excluding = lora(2, 4.0);
  excluding.exclude_modules.names = {"0.self_attn.q_proj"};
  add("first", first);
  add("excluding", excluding);
  ASSERT_TRUE(combine({"first", "excluding"}, {0.5, -2.0}, {.combination_type = "cat"}));
  const std::string q0 = "model.layers.0.self_attn.q_proj", up1 = "model.layers.1.mlp.up_proj";
  const std::string up0 = "model.layers.0.mlp.up_proj";
  EXPECT_TRUE(at::allclose(delta("both", q0), delta("first", q0) * 0.5, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(delta("both", up1), delta("excluding", up1) * -2.0, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(delta("both", up0),
                           delta("first", up0) * 0.5 - delta("excluding", up0) * 2.0, 1e-5, 1e-6));
}

TEST_F(WeightedAdapterTest, LayersThatNoneUpdatesStayAsTheyAre) {
  LoraOptions first = lora(2, 3.0);
  first.layers_to_transform = {0};
  add("first", first);
  ASSERT_TRUE(combine({"first"}, {1.0}, {.combination_type = "svd"}));
  EXPECT_THROW(delta("both", kPath), std::out_of_range);
}

TEST_F(WeightedAdapterTest, TrainedTokensOfALaterAdapterComeAlong) {
  LoraOptions options = lora(2, 1.0);
  options.trainable_token_indices.text = R"({"lm_head":[1,3]})";
  add("tokens", options);
  ASSERT_TRUE(combine({"a", "tokens"}, {1.0, 1.0}, {.combination_type = "cat"}));
  const auto rows = [&](const std::string& name) {
    for (const auto& entry : swift_.find_adapter(name)->tensors()) {
      if (entry.key.ends_with("trainable_tokens_delta")) return entry.tensor;
    }
    return at::Tensor();
  };
  ASSERT_TRUE(rows("both").defined());
  EXPECT_TRUE(at::equal(rows("both"), rows("tokens")));
}

TEST_F(WeightedAdapterTest, WhatTheSumWouldLoseIsRefused) {
  const auto refusal = [&](const LoraOptions& options, double weight = 1.0,
                           const Combination& how = {.combination_type = "cat"}) {
    add("other", options);
    const auto status = combine({"a", "other"}, {1.0, weight}, how);
    EXPECT_EQ(swift_.find_adapter("both"), nullptr);
    EXPECT_TRUE(swift_.delete_adapter("other"));
    return status ? "" : status.error().message;
  };
  LoraOptions saved{
      .r = 2, .target_modules = {.names = {"q_proj"}}, .modules_to_save = {"up_proj"}};
  EXPECT_THAT(refusal(saved), HasSubstr("model.layers.0.mlp.up_proj"));
  LoraOptions biased = lora(2, 1.0);
  biased.lora_bias = true;
  EXPECT_THAT(refusal(biased), HasSubstr("lora_B.bias"));
  LoraOptions pissa = lora(2, 1.0);
  pissa.init_lora_weights = "pissa";
  EXPECT_THAT(refusal(pissa), HasSubstr("other (pissa)"));
  EXPECT_THAT(refusal(lora(2, 1.0), std::nan("")), HasSubstr("nan of other"));
  EXPECT_THAT(refusal(lora(2, 1.0), 1.0, {.svd_clamp = 1.5}), HasSubstr("1.5"));
}

TEST(TaskArithmeticTest, TiesKeepsTheElectedSign) {
  const at::Tensor a = at::tensor({1.0, -4.0, 3.0, 0.1});
  const at::Tensor b = at::tensor({1.0, 5.0, -1.0, 0.2});
  const at::Tensor tied =
      combine_tasks({.method = "ties", .density = 0.75}, {a, b}, {1.0, 1.0}, RandomStream(1, 1));
  EXPECT_TRUE(at::allclose(tied, at::tensor({1.0, 5.0, 3.0, 0.0}))) << tied;
}

TEST(TaskArithmeticTest, RandomPruningKeepsTheMean) {
  const at::Tensor ones = at::ones({200, 200});
  const at::Tensor pruned = randomly_pruned(ones, 0.25, RandomStream(3, 4));
  EXPECT_NEAR(pruned.mean().item<double>(), 1.0, 0.03);
  EXPECT_NEAR(pruned.gt(0).to(at::kFloat).mean().item<double>(), 0.25, 0.01);
  EXPECT_TRUE(at::equal(pruned, randomly_pruned(ones, 0.25, RandomStream(3, 4))));
}

}  // namespace
}  // namespace tunefleet::tuners

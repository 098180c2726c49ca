#include "tuners/swift_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tuners/tiny_model.h"

namespace tunefleet::tuners {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

LoraOptions small(LoraOptions options = {}) {
  options.r = 2;
  if (options.target_modules.unset()) options.target_modules.all_linear = true;
  return options;
}

std::vector<at::Tensor> base_values(TinyModel& model) {
  std::vector<at::Tensor> values;
  for (const ParameterSlot* slot : model.parameters()) values.push_back(slot->value().clone());
  return values;
}

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return at::equal(x, y); });
}

/// The largest difference, relative to the largest value.
double distance(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).abs().max().div(b.abs().max()).item<double>();
}

class SwiftModelTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  TinyModel model_{GetParam()};
  const at::Tensor plain_ = model_.logits();
  SwiftModel swift_{model_, 1};

  void add(const std::string& name, LoraOptions options = {}) {
    const Status status = swift_.add_adapter(name, small(std::move(options)));
    ASSERT_TRUE(status) << status.error().message;
  }
  void add_random(const std::string& name, LoraOptions options = {}) {
    add(name, std::move(options));
    randomise(*swift_.find_adapter(name));
  }
  double tolerance() const { return GetParam() == at::kFloat ? 1e-5 : 0.1; }
};

TEST_P(SwiftModelTest, AFreshAdapterChangesNothing) {
  add("default");
  EXPECT_TRUE(at::equal(model_.logits(), plain_));
}

TEST_P(SwiftModelTest, DisabledEqualsTheBaseBitForBit) {
  add_random("default", {.modules_to_save = {"lm_head", "norm"}, .bias = "all"});
  EXPECT_FALSE(at::allclose(model_.logits(), plain_));
  ASSERT_TRUE(swift_.deactivate_adapter("default"));
  EXPECT_TRUE(at::equal(model_.logits(), plain_));
  ASSERT_TRUE(swift_.activate_adapter("default"));
  EXPECT_FALSE(at::allclose(model_.logits(), plain_));
}

TEST_P(SwiftModelTest, MergedEqualsUnmerged) {
  add_random("a", {.bias = "lora_only"});
  add_random("b", {.target_modules = {.names = {"q_proj", "lm_head"}}, .use_rslora = true});
  const at::Tensor unmerged = model_.logits();
  ASSERT_TRUE(swift_.merge());
  EXPECT_THAT(swift_.merged_adapters(), ElementsAre("a", "b"));
  EXPECT_LT(distance(model_.logits(), unmerged), tolerance());
  EXPECT_THAT(swift_.trainable_set().tensors, IsEmpty()) << "what is merged does not train";
}

TEST_P(SwiftModelTest, MergingTwiceIsMergingOnce) {
  add_random("default");
  ASSERT_TRUE(swift_.merge());
  const auto once = base_values(model_);
  ASSERT_TRUE(swift_.merge());
  EXPECT_TRUE(same(base_values(model_), once));
}

TEST_P(SwiftModelTest, UnmergingRestoresTheBaseBitForBit) {
  add_random("a");
  add_random("b");
  const auto before = base_values(model_);
  const at::Tensor unmerged = model_.logits();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(swift_.merge());
    ASSERT_TRUE(swift_.unmerge());
  }
  EXPECT_TRUE(same(base_values(model_), before));
  EXPECT_TRUE(at::equal(model_.logits(), unmerged));
}

TEST_P(SwiftModelTest, DeactivatingAMergedAdapterTakesItsUpdateOut) {
  add_random("a");
  add_random("b");
  ASSERT_TRUE(swift_.set_active_adapters({"b"}));
  const at::Tensor only_b = model_.logits();
  ASSERT_TRUE(swift_.set_active_adapters({"a", "b"}));
  ASSERT_TRUE(swift_.merge({"a"}));
  ASSERT_TRUE(swift_.deactivate_adapter("a"));
  EXPECT_TRUE(at::equal(model_.logits(), only_b));
  EXPECT_THAT(swift_.merged_adapters(), IsEmpty());
}

TEST_P(SwiftModelTest, MergeAndUnloadKeepsTheOutputAndForgetsTheAdapters) {
  add_random("a",
             {.target_modules = {.names = {"q_proj", "up_proj"}}, .modules_to_save = {"lm_head"}});
  add_random("b");
  add_random("idle");
  ASSERT_TRUE(swift_.set_active_adapters({"a", "b"}));
  const at::Tensor before = model_.logits();
  ASSERT_TRUE(swift_.merge_and_unload());
  EXPECT_THAT(swift_.adapter_names(), ElementsAre("idle"));
  EXPECT_LT(distance(model_.logits(), before), tolerance());
  ASSERT_TRUE(swift_.delete_adapter("idle"));
  EXPECT_LT(distance(model_.logits(), before), tolerance());
  for (const LinearSite* site : model_.linear_sites()) EXPECT_THAT(site->tuners, IsEmpty());
}

TEST_P(SwiftModelTest, DestroyingItRestoresTheBase) {
  {
    SwiftModel temporary(model_);
    ASSERT_TRUE(temporary.add_adapter("x", small({.modules_to_save = {"norm"}})));
    randomise(*temporary.find_adapter("x"));
    ASSERT_TRUE(temporary.merge());
    EXPECT_FALSE(at::allclose(model_.logits(), plain_));
  }
  EXPECT_TRUE(at::equal(model_.logits(), plain_));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, SwiftModelTest, testing::Values(at::kFloat, at::kBFloat16));

class SwiftModelFloatTest : public SwiftModelTest {};
INSTANTIATE_TEST_SUITE_P(Float, SwiftModelFloatTest, testing::Values(at::kFloat));

TEST_P(SwiftModelFloatTest, SeveralAdaptersOnOneModuleAddUpAndTrain) {
  add_random("a", {.target_modules = {.names = {"lm_head"}}});
  add_random("b", {.target_modules = {.names = {"lm_head"}}});
  const at::Tensor both = model_.logits();
  ASSERT_TRUE(swift_.set_active_adapters({"a"}));
  const at::Tensor only_a = model_.logits();
  ASSERT_TRUE(swift_.set_active_adapters({"b"}));
  const at::Tensor only_b = model_.logits();
  EXPECT_TRUE(at::allclose(both, only_a.add(only_b).sub(plain_), 1e-5, 1e-5));

  ASSERT_TRUE(swift_.set_active_adapters({"a", "b"}));
  model_.logits().pow(2).sum().backward();
  EXPECT_THAT(swift_.trainable_set().tensors, SizeIs(4));
  for (const auto& entry : swift_.trainable_set().tensors) {
    EXPECT_GT(entry.tensor.grad().abs().sum().item<double>(), 0.0) << entry.path;
  }
}

TEST_P(SwiftModelFloatTest, OnlyDeclaredTensorsRequireGrad) {
  add("default", {.modules_to_save = {"lm_head"}, .bias = "all"});
  for (const ParameterSlot* slot : model_.parameters()) {
    EXPECT_FALSE(slot->base.requires_grad()) << slot->path;
    EXPECT_EQ(slot->override_value.defined(),
              slot->path == "lm_head.weight" || slot->path.ends_with(".bias"));
  }
  EXPECT_FALSE(model_.parameter("model.embed_tokens.weight").override_value.defined()) << "untied";
}

TEST_P(SwiftModelFloatTest, TheTrainableSetListsPathsInModelOrder) {
  add("tuned", {.target_modules = {.names = {"v_proj", "q_proj"}},
                .modules_to_save = {"model.norm"},
                .layers_to_transform = {1},
                .bias = "lora_only"});
  std::vector<std::string> paths;
  std::vector<bool> decay;
  for (const auto& entry : swift_.trainable_set().tensors) {
    paths.push_back(entry.path);
    decay.push_back(entry.decay);
  }
  EXPECT_THAT(paths, ElementsAre("model.layers.1.self_attn.q_proj.lora_A.tuned.weight",
                                 "model.layers.1.self_attn.q_proj.lora_B.tuned.weight",
                                 "model.layers.1.self_attn.v_proj.lora_A.tuned.weight",
                                 "model.layers.1.self_attn.v_proj.lora_B.tuned.weight",
                                 "model.norm.modules_to_save.tuned.weight",
                                 "model.layers.1.self_attn.q_proj.base_layer.bias",
                                 "model.layers.1.self_attn.v_proj.base_layer.bias"));
  EXPECT_THAT(decay, ElementsAre(true, true, true, true, false, false, false));
}

TEST_P(SwiftModelFloatTest, EveryChangeMovesTheVersion) {
  uint64_t last = swift_.trainable_set().version;
  const auto moved = [&] { return std::exchange(last, swift_.trainable_set().version) != last; };
  add("a");
  EXPECT_TRUE(moved());
  ASSERT_TRUE(swift_.deactivate_adapter("a"));
  EXPECT_TRUE(moved());
  ASSERT_TRUE(swift_.activate_adapter("a"));
  EXPECT_TRUE(moved());
  ASSERT_TRUE(swift_.merge());
  EXPECT_TRUE(moved());
  ASSERT_TRUE(swift_.delete_adapter("a"));
  EXPECT_TRUE(moved());
}

TEST_P(SwiftModelFloatTest, UnknownNamesAreErrorsThatListTheKnown) {
  add("default");
  for (const Status& status :
       {swift_.activate_adapter("defualt"), swift_.deactivate_adapter("defualt"),
        swift_.merge({"defualt"}), swift_.set_active_adapters({"default", "defualt"}),
        swift_.delete_adapter("defualt"), swift_.unmerge({"defualt"}),
        swift_.merge_and_unload({"defualt"})}) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(status.error().message, HasSubstr("[default]: defualt"));
  }
  EXPECT_THAT(swift_.active_adapters(), ElementsAre("default"));
}

TEST_P(SwiftModelFloatTest, ATakenNameAndBadNamesAreRefused) {
  add("default");
  EXPECT_EQ(swift_.add_adapter("default", small()).error().code, ErrorCode::kConflict);
  for (const char* name : {"", "a.b", "a/b", "..", "extra_states", "name with space"}) {
    EXPECT_EQ(swift_.add_adapter(name, small()).error().code, ErrorCode::kInvalidArgument) << name;
  }
  EXPECT_THAT(swift_.adapter_names(), ElementsAre("default"));
}

TEST_P(SwiftModelFloatTest, TwoActiveAdaptersMayNotReplaceOneParameter) {
  add("a", {.modules_to_save = {"lm_head"}});
  const Status status = swift_.add_adapter("b", small({.modules_to_save = {"lm_head"}}));
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("a and b, lm_head.weight"));
  EXPECT_THAT(swift_.adapter_names(), ElementsAre("a"));
  ASSERT_TRUE(swift_.deactivate_adapter("a"));
  add("b", {.modules_to_save = {"lm_head"}});
  EXPECT_FALSE(swift_.activate_adapter("a"));
  EXPECT_TRUE(swift_.set_active_adapters({"a"}));
}

TEST_P(SwiftModelFloatTest, MergingNeedsAnActiveAdapterAndTheBasesWeight) {
  add("a", {.modules_to_save = {"lm_head"}});
  add("b", {.target_modules = {.names = {"lm_head"}}});
  EXPECT_THAT(swift_.merge({"b"}).error().message, HasSubstr("b, lm_head.weight"));
  ASSERT_TRUE(swift_.deactivate_adapter("b"));
  EXPECT_THAT(swift_.merge({"b"}).error().message, HasSubstr("activate it first"));
  EXPECT_TRUE(swift_.merge());
}

TEST_P(SwiftModelFloatTest, MergingTakesNoBiasFromTheAdapterThatReplacesIt) {
  add("biases", {.target_modules = {.names = {"up_proj"}}, .bias = "all"});
  add_random("plain", {.target_modules = {.names = {"q_proj"}}});
  EXPECT_TRUE(swift_.merge({"plain"})) << "it changes no bias";
  ASSERT_TRUE(swift_.unmerge());
  add_random("own", {.target_modules = {.names = {"q_proj"}}, .lora_bias = true});
  const Status status = swift_.merge({"own"});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("own, model.layers.0.self_attn.q_proj.bias"));
  EXPECT_TRUE(model_.site("model.layers.0.self_attn.q_proj").bias.value().requires_grad());
  EXPECT_TRUE(swift_.merge()) << "both together";
}

TEST_P(SwiftModelFloatTest, WhatReplacesAMergedParameterCannotBeActivatedBesideIt) {
  add("saved", {.target_modules = {.names = {"up_proj"}}, .modules_to_save = {"lm_head"}});
  ASSERT_TRUE(swift_.deactivate_adapter("saved"));
  add_random("tuned", {.target_modules = {.names = {"lm_head"}}});
  ASSERT_TRUE(swift_.merge({"tuned"}));
  const Status status = swift_.activate_adapter("saved");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kConflict);
  EXPECT_THAT(status.error().message, HasSubstr("tuned, lm_head.weight"));
  EXPECT_THAT(swift_.active_adapters(), ElementsAre("tuned"));
  EXPECT_TRUE(swift_.set_active_adapters({"saved"}));
}

TEST_P(SwiftModelFloatTest, RefusesARankLargerThanTheLayer) {
  LoraOptions options = small();
  options.r = 5;
  const Status status = swift_.add_adapter("default", options);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("r 5, model.layers.0.self_attn.v_proj is [4, 6]"));
  options.rank_pattern = {{"(v|o)_proj", 4}};
  EXPECT_TRUE(swift_.add_adapter("default", options));
}

TEST_P(SwiftModelFloatTest, RefusesModulesThatAreTargetsAndSaved) {
  const Status status = swift_.add_adapter(
      "x", small({.target_modules = {.names = {"up_proj"}}, .modules_to_save = {"p_proj"}}));
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("model.layers.0.mlp.up_proj"));
  EXPECT_THAT(swift_.add_adapter("x", small({.modules_to_save = {"lm_haed"}})).error().message,
              HasSubstr("nearest names lm_head"));
}

TEST_P(SwiftModelFloatTest, KindsOfModulesToSaveBecomeNames) {
  add("default", {.modules_to_save = {"all-norm", "all-embedding"}});
  const auto& options = swift_.find_adapter("default")->options().as<LoraOptions>();
  EXPECT_THAT(options.modules_to_save,
              ElementsAre("model.embed_tokens", "model.layers.0.input_layernorm",
                          "model.layers.1.input_layernorm", "model.norm"));
}

TEST_P(SwiftModelFloatTest, TellsWhatTrainsInTheDocumentsWords) {
  add("default", {.target_modules = {.names = {"q_proj"}}});
  // embeddings 66 (tied), two layers of 6 + 42 + 28 + 24 + 54 + 54, the norm 6; LoRA twice 2 * 6 +
  // 6 * 2.
  // In millions to four decimals: 48 of 536 are less than one of the last, and five.
  EXPECT_EQ(swift_.get_trainable_parameters(),
            "trainable params: 0M || all params: 0.0005M || trainable%: 8.96% || "
            "cuda memory: 0GiB.");
  ASSERT_TRUE(swift_.merge());
  EXPECT_THAT(swift_.get_trainable_parameters(),
              HasSubstr("trainable params: 0M || all params: 0.0005M || trainable%: 0.00% "));
}

TEST_P(SwiftModelFloatTest, ParameterGroupsSplitByDecayAndByLoraPlus) {
  add("plain", {.target_modules = {.names = {"q_proj"}}, .modules_to_save = {"model.norm"}});
  auto groups = swift_.create_optimizer_param_groups(1e-3, 0.1);
  ASSERT_THAT(groups, SizeIs(2));
  EXPECT_THAT(groups[0].tensors, SizeIs(4));
  EXPECT_EQ(groups[0].weight_decay, 0.1);
  EXPECT_EQ(groups[1].tensors[0].path, "model.norm.modules_to_save.plain.weight");
  EXPECT_EQ(groups[1].weight_decay, 0.0);
  EXPECT_EQ(groups[1].lr, 1e-3);

  ASSERT_TRUE(swift_.delete_adapter("plain"));
  LoraOptions plus =
      small({.target_modules = {.names = {"q_proj"}}, .modules_to_save = {"model.norm"}});
  plus.lorap_lr_ratio = 16.0;
  ASSERT_TRUE(swift_.add_adapter("plus", plus));
  groups = swift_.create_optimizer_param_groups(1e-3, 0.1);
  ASSERT_THAT(groups, SizeIs(3));
  EXPECT_EQ(groups[0].lr, 1e-3);
  EXPECT_EQ(groups[1].lr, 16e-3);
  EXPECT_EQ(groups[1].weight_decay, 0.1);
  EXPECT_EQ(groups[2].lr, 16e-3);
  EXPECT_EQ(groups[2].weight_decay, 0.0);
}

TEST_P(SwiftModelFloatTest, TheDocumentsNumbersGiveTheDocumentsText) {
  // The rest of the model has 482 numbers, that of the adapter 36; one number stands for all.
  const auto of_size = [](int64_t numbers) { return at::zeros({1}).expand({numbers}); };
  model_.parameter("model.norm.weight").base = of_size(900'000'000 - 482);
  add("default", {.target_modules = {.names = {"q_proj"}}});
  swift_.find_adapter("default")->tensors()[0].tensor.set_data(of_size(100'000'000 - 36));
  EXPECT_EQ(swift_.get_trainable_parameters(10.0),
            "trainable params: 100M || all params: 1000M || trainable%: 10.00% || cuda memory: "
            "10GiB.");
  model_.parameter("model.norm.weight").base = of_size(2'441'718);
  EXPECT_THAT(swift_.get_trainable_parameters(0.256),
              AllOf(HasSubstr("all params: 102.4422M "), HasSubstr("cuda memory: 0.26GiB.")));
}

}  // namespace
}  // namespace tunefleet::tuners

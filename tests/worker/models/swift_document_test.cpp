// The interface list of ms-swift's document "Using Tuners", in its order, one test for each entry.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "tests/worker/models/tiny_model.h"
#include "tuners/config/bottleneck_options.h"
#include "tuners/config/ia3_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/swift.h"
#include "worker/models/token_batch.h"

namespace tunefleet::models {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using tuners::BottleneckOptions;
using tuners::Ia3Options;
using tuners::LoraOptions;
using tuners::Offload;
using tuners::Swift;
using tuners::SwiftModel;
using tuners::TunerOptions;

LoraOptions lora(std::vector<std::string> targets = {"q_proj", "v_proj"}, int64_t r = 4) {
  return {.r = r, .lora_alpha = 8, .target_modules = {.names = std::move(targets)}};
}

/// A small decoder, and what it says to the same tokens.
class SwiftDocumentTest : public testing::Test {
 protected:
  at::Tensor logits() { return logits_of(*model_); }
  static at::Tensor logits_of(const Decoder& model) {
    const at::NoGradGuard no_grad;
    return model.logits(model.hidden_states(single_sequence(some_ids(9)), {}), {});
  }
  /// As if it had been trained.
  static void train(const SwiftModel& model, const std::string& name = "default") {
    const at::NoGradGuard no_grad;
    for (auto& entry : model.find_adapter(name)->tensors()) entry.tensor.normal_(0.0, 0.1);
  }
  static bool close(const at::Tensor& a, const at::Tensor& b) {
    return at::allclose(a, b, 1e-4, 1e-5);
  }
  fs::path checkpoint() const { return tiny_.directory() / "checkpoint"; }

  TinyModel tiny_;
  std::unique_ptr<Decoder> model_ = tiny_.load();
  at::Tensor base_ = logits();
};

// ---- Swift: static interfaces -------------------------------------------------------------------

TEST_F(SwiftDocumentTest, PrepareModelLoadsATunerIntoAModel) {
  const auto model = Swift::prepare_model(*model_, lora());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_THAT((*model)->adapter_names(), ElementsAre("default"));
  EXPECT_TRUE(at::equal(logits(), base_)) << "LoRA starts as the identity";
}

TEST_F(SwiftDocumentTest, PrepareModelTakesADictionaryOfConfigs) {
  const auto model = Swift::prepare_model(
      *model_, std::map<std::string, TunerOptions>{
                   {"lora", lora()},
                   {"adapter", BottleneckOptions{.adapter_length = 8}},
                   {"ia3", Ia3Options{.modules = {.target_modules = {.names = {"k_proj"}}}}}});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_THAT((*model)->active_adapters(), UnorderedElementsAre("lora", "adapter", "ia3"))
      << "tuners of different types, ms-swift's and PEFT's alike, work side by side";
}

TEST_F(SwiftDocumentTest, PrepareModelCanBeCalledRepeatedly) {
  const auto model = Swift::prepare_model(*model_, lora());
  ASSERT_TRUE(model);
  ASSERT_TRUE(Swift::prepare_model(**model, {{"second", lora({"o_proj"})}}));
  EXPECT_THAT((*model)->adapter_names(), ElementsAre("default", "second"));
  const auto again = Swift::prepare_model(**model, {{"second", lora({"o_proj"})}});
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("second"));
}

TEST_F(SwiftDocumentTest, PrepareModelTakesAModelThatHasTunersAndOneConfig) {
  const auto model = Swift::prepare_model(*model_, {{"first", lora()}});
  ASSERT_TRUE(model);
  ASSERT_TRUE(Swift::prepare_model(**model, BottleneckOptions{.adapter_length = 8}));
  EXPECT_THAT((*model)->active_adapters(), ElementsAre("first", "default"));
  const auto again = Swift::prepare_model(**model, lora());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_THAT(again.error().message, HasSubstr("default"));
}

TEST_F(SwiftDocumentTest, MergeAndUnloadLeavesAPlainModelThatHasLearned) {
  const auto model = Swift::prepare_model(*model_, lora());
  ASSERT_TRUE(Swift::prepare_model(**model, {{"second", lora({"q_proj", "up_proj"})}}));
  train(**model);
  train(**model, "second");
  const at::Tensor tuned = logits();
  ASSERT_TRUE(Swift::merge_and_unload(**model));
  EXPECT_TRUE((*model)->adapter_names().empty());
  EXPECT_TRUE(close(logits(), tuned)) << "all adapters are merged, not only the first";
}

TEST_F(SwiftDocumentTest, MergeAndUnmergeAreThereAndBack) {
  const auto model = Swift::prepare_model(*model_, lora());
  train(**model);
  const at::Tensor tuned = logits();
  ASSERT_TRUE(Swift::merge(**model));
  EXPECT_THAT((*model)->merged_adapters(), ElementsAre("default"));
  EXPECT_TRUE(close(logits(), tuned));
  ASSERT_TRUE(Swift::unmerge(**model));
  EXPECT_TRUE(at::equal(logits(), tuned));
}

TEST_F(SwiftDocumentTest, SaveToPeftFormatSplitsDefaultFromTheOthers) {
  const auto model = Swift::prepare_model(
      *model_,
      std::map<std::string, TunerOptions>{{"default", lora()}, {"style", lora({"o_proj"})}});
  train(**model);
  train(**model, "style");
  const at::Tensor tuned = logits();
  ASSERT_TRUE((*model)->save_pretrained(checkpoint(), /*safe_serialization=*/true));
  const fs::path peft = tiny_.directory() / "peft";
  ASSERT_TRUE(Swift::save_to_peft_format(checkpoint(), peft));
  EXPECT_TRUE(fs::exists(peft / "adapter_config.json"));
  EXPECT_TRUE(fs::exists(peft / "style" / "adapter_config.json"));
  EXPECT_FALSE(fs::exists(peft / "default"));
  const auto other = tiny_.load();
  const auto loaded = Swift::from_pretrained(*other, peft);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(at::equal(logits_of(*other), tuned));
}

TEST_F(SwiftDocumentTest, SaveToPeftFormatRefusesWhatPeftDoesNotHave) {
  const auto adapter = Swift::prepare_model(*model_, BottleneckOptions{.adapter_length = 8});
  ASSERT_TRUE(adapter);
  ASSERT_TRUE((*adapter)->save_pretrained(checkpoint(), true));
  const auto refused = Swift::save_to_peft_format(checkpoint(), tiny_.directory() / "peft");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("only LoRA"));
  EXPECT_FALSE(fs::exists(tiny_.directory() / "peft"));
}

TEST_F(SwiftDocumentTest, SaveToPeftFormatRefusesAFieldPeftHasNoPlaceFor) {
  LoraOptions options = lora();
  options.lora_dtype = "bfloat16";
  const auto model = Swift::prepare_model(*model_, options);
  ASSERT_TRUE(model);
  ASSERT_TRUE((*model)->save_pretrained(checkpoint(), true));
  const auto refused = Swift::save_to_peft_format(checkpoint(), tiny_.directory() / "peft");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("lora_dtype"));
}

TEST_F(SwiftDocumentTest, FromPretrainedTakesAllOneSeveralOrRenamed) {
  const auto model = Swift::prepare_model(
      *model_, std::map<std::string, TunerOptions>{
                   {"a", lora()}, {"b", lora({"o_proj"})}, {"c", lora({"up_proj"})}});
  ASSERT_TRUE((*model)->save_pretrained(checkpoint()));
  const auto names = [&](const Swift::AdapterNames& wanted) {
    const auto other = tiny_.load();
    const auto loaded = Swift::from_pretrained(*other, checkpoint(), wanted);
    EXPECT_TRUE(loaded) << loaded.error().message;
    return (*loaded)->adapter_names();
  };
  EXPECT_THAT(names({}), UnorderedElementsAre("a", "b", "c"));
  EXPECT_THAT(names("b"), ElementsAre("b"));
  EXPECT_THAT(names(std::vector<std::string>{"a", "c"}), UnorderedElementsAre("a", "c"));
  EXPECT_THAT(names(std::map<std::string, std::string>{{"a", "first"}}), ElementsAre("first"));
}

TEST_F(SwiftDocumentTest, FromPretrainedTakesARevisionAndCanBeCalledRepeatedly) {
  const auto model = Swift::prepare_model(*model_, lora());
  train(**model);
  const at::Tensor tuned = logits();
  ASSERT_TRUE((*model)->save_pretrained(checkpoint() / "v1", true));
  const auto other = tiny_.load();
  SwiftModel again(*other);
  ASSERT_TRUE(Swift::from_pretrained(again, checkpoint(), {}, true, "v1"));
  EXPECT_TRUE(at::equal(logits_of(*other), tuned));
  const std::map<std::string, std::string> renamed{{"default", "twice"}};
  ASSERT_TRUE(Swift::from_pretrained(again, checkpoint(), renamed, true, "v1"));
  EXPECT_THAT(again.adapter_names(), ElementsAre("default", "twice"));
}

// ---- SwiftModel
// -----------------------------------------------------------------------------------

TEST_F(SwiftDocumentTest, CreateOptimizerParamGroupsAppliesLoraPlus) {
  LoraOptions options = lora();
  options.lorap_lr_ratio = 16.0;
  const auto model = Swift::prepare_model(*model_, options);
  const auto groups = (*model)->create_optimizer_param_groups(/*lr=*/1e-4, /*weight_decay=*/0.1);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_DOUBLE_EQ(groups[0].lr, 1e-4);
  EXPECT_DOUBLE_EQ(groups[1].lr, 16e-4);
  for (const auto& tensor : groups[1].tensors) EXPECT_THAT(tensor.path, HasSubstr("lora_B"));
}

TEST_F(SwiftDocumentTest, AddWeightedAdapterMergesTunersIntoOne) {
  const auto model = Swift::prepare_model(
      *model_, std::map<std::string, TunerOptions>{{"a", lora()}, {"b", lora()}});
  train(**model, "a");
  train(**model, "b");
  ASSERT_TRUE(
      (*model)->add_weighted_adapter({"a", "b"}, {1.0, 1.0}, "both", {.combination_type = "cat"}));
  EXPECT_THAT((*model)->active_adapters(), ElementsAre("both"));
  const at::Tensor combined = logits();
  ASSERT_TRUE((*model)->set_active_adapters({"a", "b"}));
  EXPECT_TRUE(close(logits(), combined));
}

TEST_F(SwiftDocumentTest, SavePretrainedWritesPicklesUnlessToldOtherwise) {
  const auto model = Swift::prepare_model(
      *model_, std::map<std::string, TunerOptions>{{"a", lora()}, {"b", lora()}});
  ASSERT_TRUE((*model)->save_pretrained(checkpoint()));
  EXPECT_TRUE(fs::exists(checkpoint() / "a" / "adapter_model.bin"));
  ASSERT_TRUE((*model)->save_pretrained(checkpoint() / "safe", true, {"b"}));
  EXPECT_TRUE(fs::exists(checkpoint() / "safe" / "b" / "adapter_model.safetensors"));
  EXPECT_FALSE(fs::exists(checkpoint() / "safe" / "a"));
}

TEST_F(SwiftDocumentTest, SetActiveAdaptersDeactivatesTheOthers) {
  const auto model = Swift::prepare_model(
      *model_, std::map<std::string, TunerOptions>{{"a", lora()}, {"b", lora({"down_proj"})}});
  train(**model, "a");
  train(**model, "b");
  ASSERT_TRUE((*model)->set_active_adapters({"a"}, Offload::kMeta));
  EXPECT_THAT((*model)->active_adapters(), ElementsAre("a"));
  const at::Tensor with_a = logits();
  ASSERT_TRUE((*model)->set_active_adapters({"b"}, Offload::kCpu));
  EXPECT_FALSE(close(logits(), with_a));
  ASSERT_TRUE((*model)->set_active_adapters({"a"}));
  EXPECT_TRUE(at::equal(logits(), with_a));
}

TEST_F(SwiftDocumentTest, ActivateAndDeactivateAnAdapter) {
  const auto model = Swift::prepare_model(*model_, lora());
  train(**model);
  const at::Tensor tuned = logits();
  ASSERT_TRUE((*model)->deactivate_adapter("default", Offload::kCpu));
  EXPECT_TRUE(at::equal(logits(), base_));
  ASSERT_TRUE((*model)->activate_adapter("default"));
  EXPECT_TRUE(at::equal(logits(), tuned));
  EXPECT_EQ((*model)->activate_adapter("nobody").error().code, ErrorCode::kNotFound);
}

TEST_F(SwiftDocumentTest, EachThreadHasItsOwnActiveAdaptersWhenAsked) {
  setenv("USE_UNIQUE_THREAD", "0", 1);
  const auto model = Swift::prepare_model(*model_, lora());
  unsetenv("USE_UNIQUE_THREAD");
  train(**model);
  const at::Tensor tuned = logits();
  std::thread([&] {
    EXPECT_TRUE(at::equal(logits(), base_));
    ASSERT_TRUE((*model)->activate_adapter("default"));
    EXPECT_TRUE(at::equal(logits(), tuned));
  }).join();
  ASSERT_TRUE((*model)->deactivate_adapter("default"));
  EXPECT_TRUE(at::equal(logits(), base_));
}

TEST_F(SwiftDocumentTest, GetTrainableParametersHasTheDocumentsFormat) {
  const auto model = Swift::prepare_model(*model_, lora());
  EXPECT_THAT((*model)->get_trainable_parameters(),
              testing::MatchesRegex("trainable params: 0[.][0-9]+M [|][|] all params: 0[.][0-9]+M "
                                    "[|][|] trainable%: [0-9]+[.][0-9][0-9]% [|][|] "
                                    "cuda memory: 0GiB[.]"));
}

}  // namespace
}  // namespace tunefleet::models

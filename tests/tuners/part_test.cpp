#include "tuners/part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/tuners/ms_swift_case.h"
#include "tests/tuners/tiny_model.h"
#include "tuners/config/lora_options.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"

namespace tunefleet::tuners {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PartOptions part(const std::string& expression) {
  return {.target_modules = {.names = {}, .regex = expression}};
}

std::vector<std::string> trained_paths(const SwiftModel& swift) {
  std::vector<std::string> paths;
  for (const auto& each : swift.trainable_set().tensors) paths.push_back(each.path);
  return paths;
}

class PartTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  TinyModel model_{GetParam()};
  const at::Tensor plain_ = model_.logits();
  SwiftModel swift_{model_, 1};
};

TEST_P(PartTest, TrainsWhatIsInsideTheSelectedModules) {
  ASSERT_TRUE(swift_.add_adapter("a", part(R"(model\.norm|model\.layers\.1\.self_attn)")));
  EXPECT_THAT(trained_paths(swift_), ElementsAre("model.layers.1.self_attn._part_a.q_proj.weight",
                                                 "model.layers.1.self_attn._part_a.q_proj.bias",
                                                 "model.layers.1.self_attn._part_a.v_proj.weight",
                                                 "model.layers.1.self_attn._part_a.v_proj.bias",
                                                 "model.layers.1.self_attn._part_a.o_proj.weight",
                                                 "model.norm._part_a.weight"));
  for (const ParameterSlot* slot : model_.parameters()) EXPECT_FALSE(slot->base.requires_grad());
}

TEST_P(PartTest, StartsAsTheBaseAndLeavesItUntouched) {
  ASSERT_TRUE(swift_.add_adapter("a", part(R"(model\.layers\.0\..*)")));
  EXPECT_TRUE(at::equal(model_.logits(), plain_));
  randomise(*swift_.find_adapter("a"));
  EXPECT_FALSE(at::equal(model_.logits(), plain_));
  ASSERT_TRUE(swift_.set_active_adapters({}));
  EXPECT_TRUE(at::equal(model_.logits(), plain_));
}

TEST_P(PartTest, UnloadedIntoTheBaseItStaysWhatItWas) {
  ASSERT_TRUE(swift_.add_adapter("a", part(R"(.*up_proj|lm_head)")));
  randomise(*swift_.find_adapter("a"));
  const at::Tensor tuned = model_.logits();
  ASSERT_TRUE(swift_.merge_and_unload());
  EXPECT_TRUE(swift_.adapter_names().empty());
  EXPECT_TRUE(at::equal(model_.logits(), tuned));
}

TEST_P(PartTest, ATiedHeadIsCopiedAlone) {
  ASSERT_TRUE(swift_.add_adapter("a", part("lm_head")));
  EXPECT_THAT(trained_paths(swift_), ElementsAre("lm_head._part_a.weight"));
  randomise(*swift_.find_adapter("a"));
  EXPECT_FALSE(model_.parameter("model.embed_tokens.weight").override_value.defined());
}

TEST_P(PartTest, LoraActsOnTopOfTheCopy) {
  ASSERT_TRUE(swift_.add_adapter("whole", part(R"(model\.layers\.0\.mlp\.up_proj)")));
  randomise(*swift_.find_adapter("whole"));
  LoraOptions lora{.r = 2};
  lora.target_modules.names = {"up_proj"};
  lora.init_lora_weights = "false";
  ASSERT_TRUE(swift_.add_adapter("low", lora));
  const at::Tensor both = model_.logits();
  ASSERT_TRUE(swift_.set_active_adapters({"low"}));
  const at::Tensor low = model_.logits();
  ASSERT_TRUE(swift_.set_active_adapters({"whole"}));
  const at::Tensor whole = model_.logits();
  EXPECT_FALSE(at::equal(both, low));
  EXPECT_FALSE(at::equal(both, whole));
  ASSERT_TRUE(swift_.set_active_adapters({"low", "whole"}));
  EXPECT_TRUE(at::equal(model_.logits(), both));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, PartTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(toString(info.param)); });

TEST(Part, TwoOnOneParameterDoNotGoTogether) {
  TinyModel model;
  SwiftModel swift(model, 1);
  ASSERT_TRUE(swift.add_adapter("a", part("lm_head")));
  const auto status = swift.add_adapter("b", part("lm_head|model\\.norm"));
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("replace the same parameter"));
}

TEST(Part, NothingSelectedIsRefusedWithTheNearestNames) {
  TinyModel model;
  SwiftModel swift(model, 1);
  const auto status = swift.add_adapter("a", part(R"(model\.norms)"));
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("nearest are model.norm"));
  EXPECT_FALSE(swift.add_adapter("a", PartOptions{}));
}

TEST(Part, FilesHaveTheBasesNamesAndAnExpression) {
  TinyModel model;
  SwiftModel swift(model, 1);
  const PartOptions names{.target_modules = {.names = {"norm", "q_proj"}, .regex = {}}};
  ASSERT_TRUE(swift.add_adapter("a", names));
  randomise(*swift.find_adapter("a"));
  const auto tuned = model.logits();
  const auto directory = std::filesystem::path(testing::TempDir()) / "part_files";
  ASSERT_TRUE(save_swift(swift, directory));
  const auto tensors = read_tensors(directory / "a" / "adapter_model.safetensors");
  EXPECT_EQ(tensors.size(), 5U);
  EXPECT_TRUE(tensors.contains("model.layers.0.self_attn.q_proj.bias"));
  const auto config = read_json_file(directory / "a" / "adapter_config.json");
  EXPECT_EQ(
      config["target_modules"],
      R"(model\.layers\.0\.self_attn\.q_proj|model\.layers\.1\.self_attn\.q_proj|model\.norm)");
  TinyModel fresh;
  const auto loaded = Swift::from_pretrained(fresh, directory);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(at::equal(fresh.logits(), tuned));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace tunefleet::tuners

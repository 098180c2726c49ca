#include "tuners/llama_pro.h"

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "tests/worker/models/tiny_model.h"
#include "tuners/config/lora_options.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"

namespace tunefleet::models {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using tuners::LlamaProOptions;
using tuners::LoraOptions;
using tuners::SwiftModel;

std::vector<std::string> parameter_paths(Decoder& model) {
  std::vector<std::string> paths;
  for (const auto* slot : model.parameters()) paths.push_back(slot->path);
  return paths;
}

/// As if it had been trained, but near the start.
void randomise(const SwiftModel& swift, const std::string& name) {
  models::randomise(*swift.find_adapter(name), 0.1);
}

/// The numbers of the layers whose parameters train.
std::set<int64_t> trained_layers(const SwiftModel& swift, const std::string& name) {
  std::set<int64_t> layers;
  for (const auto& each : swift.find_adapter(name)->tensors())
    layers.insert(std::stoll(each.key.substr(std::string("model.layers.").size())));
  return layers;
}

const LoraOptions kLora{.r = 2, .target_modules = {.names = {"q_proj", "down_proj"}}};

class LlamaProTest : public testing::Test {
 protected:
  const TinyModel stored_{};
  const std::unique_ptr<Decoder> model_ = stored_.load();
  const at::Tensor base_ = logits_of(*model_);
  const std::filesystem::path directory_ =
      std::filesystem::path(testing::TempDir()) / "llama_pro_test";
  void TearDown() override { std::filesystem::remove_all(directory_); }
};

TEST_F(LlamaProTest, PathsAndNumbersAreThoseOfTheLongerList) {
  const auto plain = parameter_paths(*model_);
  SwiftModel swift(*model_);
  expect_ok(swift.add_adapter("pro", LlamaProOptions{.num_new_blocks = 2}));
  EXPECT_THAT(model_->layer_list()->origins(), ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(model_->layer_list()->size(), 2);
  EXPECT_EQ(trained_layers(swift, "pro"), (std::set<int64_t>{1, 3}));
  const auto longer = parameter_paths(*model_);
  EXPECT_EQ(std::set<std::string>(longer.begin(), longer.end()).size(), longer.size());
  EXPECT_THAT(longer, testing::Contains("model.layers.3.mlp.down_proj.weight"));
  expect_ok(swift.deactivate_adapter("pro"));
  EXPECT_EQ(parameter_paths(*model_), plain);
  EXPECT_THAT(model_->layer_list()->origins(), ElementsAre(0, 1));
  EXPECT_TRUE(at::equal(logits_of(*model_), base_));
}

TEST_F(LlamaProTest, CountsItsParametersOnce) {
  SwiftModel swift(*model_);
  expect_ok(swift.add_adapter("pro", LlamaProOptions{.num_new_blocks = 1}));
  int64_t all = 0;
  for (const auto* slot : model_->parameters()) all += slot->base.numel();
  const std::string text = swift.get_trainable_parameters();
  double millions = 0.0;
  ASSERT_EQ(std::sscanf(text.c_str(), "trainable params: %*fM || all params: %lfM", &millions), 1)
      << text;
  EXPECT_NEAR(millions * 1e6, static_cast<double>(all), 50.0) << text;
}

TEST_F(LlamaProTest, NumbersThatDoNotFitAreRefused) {
  SwiftModel swift(*model_);
  const auto error = [&](const LlamaProOptions& options) {
    return swift.add_adapter("pro", options).error().message;
  };
  EXPECT_THAT(error({.num_new_blocks = 3}), HasSubstr("divides the number of layers: 3, 2 layers"));
  EXPECT_THAT(error({.num_new_blocks = 2, .num_groups = 5}), HasSubstr("num_groups 5, 2 layers"));
  EXPECT_THAT(error({}), HasSubstr("num_new_blocks"));
  EXPECT_THAT(swift.adapter_names(), IsEmpty());
}

TEST_F(LlamaProTest, ReloadedItTrains) {
  {
    SwiftModel swift(*model_);
    expect_ok(swift.add_adapter("pro", LlamaProOptions{.num_new_blocks = 2}));
    randomise(swift, "pro");
    expect_ok(tuners::save_swift(swift, directory_));
  }
  SwiftModel swift(*model_);
  expect_ok(tuners::Swift::from_pretrained(swift, directory_));
  const auto set = swift.trainable_set();
  EXPECT_EQ(set.tensors.size(), 18U);
  for (const auto& each : set.tensors) EXPECT_TRUE(each.tensor.requires_grad()) << each.path;
}

TEST_F(LlamaProTest, MergedForGoodTheBaseHasItsLayers) {
  SwiftModel swift(*model_);
  expect_ok(swift.add_adapter("pro", LlamaProOptions{.num_new_blocks = 2}));
  randomise(swift, "pro");
  const auto tuned = logits_of(*model_);
  const auto paths = parameter_paths(*model_);
  expect_ok(swift.merge_and_unload());
  EXPECT_THAT(swift.adapter_names(), IsEmpty());
  EXPECT_EQ(model_->layer_list()->size(), 4);
  EXPECT_THAT(model_->layer_list()->origins(), ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(parameter_paths(*model_), paths);
  EXPECT_TRUE(at::equal(logits_of(*model_), tuned));
  for (const auto* slot : model_->parameters()) {
    EXPECT_FALSE(slot->base.requires_grad()) << slot->path;
    EXPECT_FALSE(slot->override_value.defined()) << slot->path;
  }
  expect_ok(swift.add_adapter("more", LlamaProOptions{.num_new_blocks = 4}));
  EXPECT_EQ(model_->layer_list()->origins().size(), 8U);
}

TEST_F(LlamaProTest, ItsLayersCannotGoWhileAnotherAdapterActsOnThem) {
  SwiftModel swift(*model_);
  expect_ok(swift.add_adapter("pro", LlamaProOptions{.num_new_blocks = 2}));
  expect_ok(swift.add_adapter("low", kLora));
  randomise(swift, "low");
  const auto status = swift.delete_adapter("pro");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kConflict);
  EXPECT_THAT(status.error().message, HasSubstr("low on those of pro"));
  expect_ok(swift.delete_adapter("low"));
  expect_ok(swift.delete_adapter("pro"));
  EXPECT_TRUE(at::equal(logits_of(*model_), base_));
}

/// Saved together, loaded together: whatever came first.
class LlamaProBesideLoraTest : public LlamaProTest, public testing::WithParamInterface<bool> {};

TEST_P(LlamaProBesideLoraTest, SavedAndLoadedTogetherTheyAreTheSame) {
  const bool lora_first = GetParam();
  at::Tensor both, low_alone;
  {
    SwiftModel swift(*model_);
    if (lora_first) expect_ok(swift.add_adapter("a", kLora));
    expect_ok(swift.add_adapter("b", LlamaProOptions{.num_new_blocks = 2}));
    if (!lora_first) expect_ok(swift.add_adapter("a", kLora));
    randomise(swift, "a");
    randomise(swift, "b");
    both = logits_of(*model_);
    expect_ok(tuners::save_swift(swift, directory_));
    expect_ok(swift.set_active_adapters({"a"}));
    low_alone = logits_of(*model_);
  }
  SwiftModel swift(*model_);
  expect_ok(tuners::Swift::from_pretrained(swift, directory_));
  EXPECT_TRUE(at::equal(logits_of(*model_), both));
  expect_ok(swift.set_active_adapters({"a"}));
  EXPECT_TRUE(at::equal(logits_of(*model_), low_alone));
  if (lora_first) {
    SwiftModel alone(*model_);
    expect_ok(tuners::Swift::from_pretrained(alone, directory_, "a"));
    EXPECT_TRUE(at::equal(logits_of(*model_), low_alone));
  } else {
    SwiftModel alone(*model_);
    const auto status = tuners::Swift::from_pretrained(alone, directory_, "a");
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr("it has 4, this one 2"));
    EXPECT_THAT(alone.adapter_names(), IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, LlamaProBesideLoraTest, testing::Bool(), [](const auto& info) {
  return info.param ? std::string("LoraFirst") : std::string("LayersFirst");
});

TEST_F(LlamaProTest, LoraOnItsLayersMergesWithIt) {
  SwiftModel swift(*model_);
  expect_ok(swift.add_adapter("pro", LlamaProOptions{.num_new_blocks = 2}));
  expect_ok(swift.add_adapter("low", kLora));
  randomise(swift, "pro");
  randomise(swift, "low");
  const auto unmerged = logits_of(*model_);
  const auto alone = swift.merge({"low"});
  ASSERT_FALSE(alone);
  EXPECT_THAT(alone.error().message, HasSubstr("merge both or neither"));
  expect_ok(swift.merge());
  EXPECT_TRUE(at::allclose(logits_of(*model_), unmerged, 1e-4, 1e-5));
  EXPECT_FALSE(swift.unmerge({"pro"})) << "the other stays merged on its weights";
  expect_ok(swift.unmerge());
  EXPECT_TRUE(at::equal(logits_of(*model_), unmerged));
  expect_ok(swift.merge_and_unload());
  EXPECT_TRUE(at::allclose(logits_of(*model_), unmerged, 1e-4, 1e-5));
  EXPECT_EQ(model_->layer_list()->size(), 4);
}

/// ms-swift takes layers 10 to 19 for the new layer 1.
TEST(LlamaProSelectionTest, TrainsTheNewLayersOnly) {
  const TinyModel stored(R"("num_hidden_layers": 12)", "llama");
  const auto model = stored.load();
  SwiftModel swift(*model);
  expect_ok(swift.add_adapter("default", LlamaProOptions{.num_new_blocks = 12}));
  std::set<int64_t> odd;
  for (int64_t i = 1; i < 24; i += 2) odd.insert(i);
  EXPECT_EQ(trained_layers(swift, "default"), odd);
}

class LlamaProFamilyTest : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(LlamaProFamilyTest, StartsAsTheIdentityOnEveryDecoder) {
  const TinyModel stored(GetParam().second, GetParam().first);
  const auto model = stored.load();
  const auto base = logits_of(*model);
  SwiftModel swift(*model);
  expect_ok(swift.add_adapter("default", LlamaProOptions{.num_new_blocks = 1}));
  EXPECT_TRUE(at::equal(logits_of(*model), base));
  randomise(swift, "default");
  EXPECT_FALSE(at::allclose(logits_of(*model), base, 1e-3, 1e-3));
}

INSTANTIATE_TEST_SUITE_P(Families, LlamaProFamilyTest,
                         testing::Values(std::pair{"llama", R"("attention_bias": true)"},
                                         std::pair{"qwen2", ""}, std::pair{"qwen3", ""},
                                         std::pair{"llama", R"("tie_word_embeddings": true)"},
                                         std::pair{"mistral", R"("sliding_window": 4)"}));

}  // namespace
}  // namespace tunefleet::models

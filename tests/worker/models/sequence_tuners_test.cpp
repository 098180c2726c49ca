#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <set>

#include "tests/tuners/ms_swift_case.h"
#include "tests/worker/models/tiny_model.h"
#include "tuners/config/llama_pro_options.h"
#include "tuners/config/long_lora_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/virtual_token_options.h"
#include "tuners/neftune.h"
#include "tuners/peft_files.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"

/// Tuners of embeddings, of attention, and of the sequence.
namespace tunefleet::models {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using tuners::Boundaries;
using tuners::ForwardContext;
using tuners::PrefixTuningOptions;
using tuners::PromptTuningOptions;
using tuners::PTuningOptions;
using tuners::SwiftModel;

/// What the model gives in training.
at::Tensor training_logits(const Decoder& model, const std::vector<int32_t>& ids = some_ids(9)) {
  return logits_of(model, single_sequence(ids), true);
}

std::set<std::string> trained_paths(const SwiftModel& swift) {
  std::set<std::string> paths;
  for (const auto& each : swift.trainable_set().tensors) paths.insert(each.path);
  return paths;
}

at::Tensor tensor_of(const SwiftModel& swift, const std::string& key) {
  for (const auto& each : swift.find_adapter("default")->tensors()) {
    if (each.key == key) return each.tensor;
  }
  throw std::out_of_range(key);
}

class SequenceTunersTest : public testing::Test {
 protected:
  const TinyModel stored_{};
  const std::unique_ptr<Decoder> model_ = stored_.load();
  SwiftModel swift_{*model_};
  const fs::path directory_ = fs::path(testing::TempDir()) / "sequence_tuners_test";
  void TearDown() override { fs::remove_all(directory_); }

  std::string error_of(const tuners::TunerOptions& options) {
    const auto status = swift_.add_adapter("default", options);
    return status ? std::string() : status.error().message;
  }
  const at::Tensor& table() const { return model_->parameters().front()->base; }
};

// ---- NEFTune --------------------------------------------------------------------------------

/// Rows of these lengths, one behind the other, with the keys of a batch.
struct NoiseInput {
  explicit NoiseInput(const std::vector<int64_t>& lengths, int64_t first_row = 0) {
    auto offsets = std::make_shared<Boundaries>(1, 0);
    std::vector<int64_t> keys;
    for (size_t row = 0; row < lengths.size(); ++row) {
      offsets->push_back(offsets->back() + static_cast<int32_t>(lengths[row]));
      for (int64_t t = 0; t < lengths[row]; ++t)
        keys.push_back(((first_row + static_cast<int64_t>(row)) << 32) + t);
    }
    context = {.training = true, .seed = 42, .step = 3, .token_keys = at::tensor(keys)};
    context.boundaries = offsets;
  }
  /// The noise on an embedding of zeros.
  at::Tensor noise(double alpha, int64_t width, at::ScalarType dtype = at::kFloat) const {
    const tuners::NeftuneNoise tuner("model.embed_tokens", alpha);
    return tuner.forward(
        context.token_keys,
        [&](const at::Tensor& ids) {
          return at::zeros({ids.size(0), width}, dtype);
        },
        context);
  }
  ForwardContext context;
};

TEST(NeftuneTest, NoiseIsUniformUpToTheBoundOfEachRow) {
  const auto facts = tuners::read_json_file("tests/oracle/ms_swift/neftune/case.json");
  const auto width = facts["dim"].get<int64_t>();
  for (const auto& seen : facts["seen"]) {
    const auto length = seen["length"].get<int64_t>();
    const auto noise =
        NoiseInput(std::vector<int64_t>(64, length)).noise(facts["noise_alpha"], width);
    const double bound = seen["bound"];
    EXPECT_LE(noise.abs().max().item<double>(), bound * (1 + 1e-6));
    EXPECT_NEAR(noise.max().item<double>(), seen["highest"].get<double>(), 0.01 * bound);
    EXPECT_NEAR(noise.min().item<double>(), seen["lowest"].get<double>(), 0.01 * bound);
    EXPECT_NEAR(noise.square().mean().item<double>(), bound * bound / 3, 0.04 * bound * bound);
    EXPECT_NEAR(noise.mean().item<double>(), 0.0, 0.06 * bound);
  }
}

TEST(NeftuneTest, DrawsDependOnTheTokenAlone) {
  const auto together = NoiseInput({3, 5, 4}).noise(5.0, 7);
  const auto alone = NoiseInput({5}, 1).noise(5.0, 7);
  EXPECT_TRUE(at::equal(together.narrow(0, 3, 5), alone));
  NoiseInput later({3, 5, 4});
  later.context.step = 4;
  EXPECT_FALSE(at::allclose(later.noise(5.0, 7), together));
}

TEST(NeftuneTest, KeepsTheEmbeddingsDtype) {
  const NoiseInput input({4});
  const auto noise = input.noise(5.0, 6, at::kBFloat16);
  EXPECT_EQ(noise.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(noise, input.noise(5.0, 6).to(at::kBFloat16)));
}

TEST_F(SequenceTunersTest, NeftuneActsInTrainingOnly) {
  const auto base = logits_of(*model_);
  expect_ok(swift_.add_adapter("noise", tuners::NeftuneOptions{}));
  EXPECT_TRUE(at::equal(logits_of(*model_), base));
  EXPECT_FALSE(at::allclose(training_logits(*model_), base, 1e-3, 1e-3));
  expect_ok(swift_.deactivate_adapter("noise"));
  EXPECT_TRUE(at::equal(training_logits(*model_), base));
}

TEST_F(SequenceTunersTest, AModelTakesOneNeftune) {
  expect_ok(swift_.add_adapter("noise", tuners::NeftuneOptions{}));
  expect_ok(swift_.deactivate_adapter("noise"));
  const auto status = swift_.add_adapter("more", tuners::NeftuneOptions{.noise_alpha = 1.0});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kConflict);
  EXPECT_THAT(status.error().message, HasSubstr("one neftune"));
  expect_ok(swift_.delete_adapter("noise"));
  expect_ok(swift_.add_adapter("more", tuners::NeftuneOptions{.noise_alpha = 1.0}));
}

TEST_F(SequenceTunersTest, NeftunesFolderHoldsItsConfigurationOnly) {
  expect_ok(swift_.add_adapter("default", tuners::NeftuneOptions{}));
  expect_ok(tuners::save_swift(swift_, directory_));
  EXPECT_EQ(
      tuners::read_json_file(directory_ / "default/adapter_config.json"),
      tuners::read_json_file("tests/oracle/ms_swift/neftune/adapter/default/adapter_config.json"));
  EXPECT_FALSE(fs::exists(directory_ / "default/adapter_model.safetensors"));
  SwiftModel loaded(*model_);
  expect_ok(tuners::Swift::from_pretrained(loaded, directory_));
  EXPECT_EQ(loaded.active_adapters(), std::vector<std::string>{"default"});
}

// ---- Virtual tokens ---------------------------------------------------------------------------

TEST_F(SequenceTunersTest, PromptStartsAsATextsTokensCutOrRepeated) {
  PromptTuningOptions options{.tokens = {.num_virtual_tokens = 5}, .prompt_tuning_init = "TEXT"};
  options.prompt_tuning_init_ids = {7, 11};
  expect_ok(swift_.add_adapter("default", options));
  EXPECT_TRUE(at::equal(tensor_of(swift_, "prompt_embeddings"),
                        table().index_select(0, at::tensor({7, 11, 7, 11, 7}))));
  expect_ok(swift_.delete_adapter("default"));
  options.prompt_tuning_init_ids = {1, 2, 3, 4, 5, 6, 7};
  expect_ok(swift_.add_adapter("default", options));
  EXPECT_TRUE(at::equal(tensor_of(swift_, "prompt_embeddings"), table().narrow(0, 1, 5)));
}

TEST_F(SequenceTunersTest, ATextWithoutItsTokensIsRefusedWithTheWayOut) {
  PromptTuningOptions options{.tokens = {.num_virtual_tokens = 5}, .prompt_tuning_init = "TEXT"};
  EXPECT_THAT(error_of(options), HasSubstr("prompt_tuning_init_ids"));
  options.prompt_tuning_init_text = "Be kind.";
  EXPECT_THAT(error_of(options), HasSubstr("give them as prompt_tuning_init_ids"));
  options.prompt_tuning_init_ids = {61};
  EXPECT_THAT(error_of(options), HasSubstr("61, it has 61"));
}

TEST_F(SequenceTunersTest, PromptStartsAsTokensOfTheVocabulary) {
  expect_ok(
      swift_.add_adapter("default", PromptTuningOptions{.tokens = {.num_virtual_tokens = 9},
                                                        .prompt_tuning_init = "SAMPLE_VOCAB"}));
  const auto prompt = tensor_of(swift_, "prompt_embeddings");
  const auto nearest = at::cdist(prompt, table()).argmin(1);
  EXPECT_TRUE(at::equal(prompt, table().index_select(0, nearest)));
  EXPECT_GT(std::get<0>(at::_unique(nearest)).size(0), 5);
}

TEST_F(SequenceTunersTest, TokensOfAnotherModelAreRefused) {
  EXPECT_THAT(error_of(PromptTuningOptions{.tokens = {.num_virtual_tokens = 2, .token_dim = 25}}),
              HasSubstr("token_dim 25, this one's is 24"));
  EXPECT_THAT(error_of(PrefixTuningOptions{.tokens = {.num_virtual_tokens = 2, .num_layers = 3}}),
              HasSubstr("num_layers 3, this one's is 2"));
  EXPECT_THAT(error_of(PromptTuningOptions{}), HasSubstr("num_virtual_tokens"));
}

TEST_F(SequenceTunersTest, VirtualTokensComeFromOneAdapterAtATime) {
  expect_ok(swift_.add_adapter("a", PromptTuningOptions{.tokens = {.num_virtual_tokens = 2}}));
  const auto status =
      swift_.add_adapter("b", PrefixTuningOptions{.tokens = {.num_virtual_tokens = 2}});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kConflict);
}

TEST_F(SequenceTunersTest, APrefixIsForOneNumberOfLayers) {
  expect_ok(swift_.add_adapter("prefix", PrefixTuningOptions{.tokens = {.num_virtual_tokens = 2}}));
  const auto status = swift_.add_adapter("pro", tuners::LlamaProOptions{.num_new_blocks = 1});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("prefix for 2 of 3"));
  expect_ok(swift_.delete_adapter("prefix"));
  expect_ok(swift_.add_adapter("pro", tuners::LlamaProOptions{.num_new_blocks = 1}));
  expect_ok(swift_.add_adapter("longer", PrefixTuningOptions{.tokens = {.num_virtual_tokens = 2}}));
  EXPECT_EQ(logits_of(*model_).size(0), 9);
}

TEST_F(SequenceTunersTest, AZeroPrefixIsKeysAndValuesOfZeros) {
  for (const bool projection : {false, true}) {
    expect_ok(swift_.add_adapter("default", PrefixTuningOptions{.tokens = {.num_virtual_tokens = 3},
                                                                .init_weights = "zero",
                                                                .prefix_projection = projection}));
    EXPECT_EQ(tensor_of(swift_, "prompt_embeddings").abs().max().item<double>(), 0.0);
    EXPECT_EQ(tensor_of(swift_, "prompt_embeddings").sizes(), (std::vector<int64_t>{3, 48}));
    expect_ok(swift_.delete_adapter("default"));
  }
}

/// Tuners whose tokens a network makes.
class PromptNetworkTest : public SequenceTunersTest,
                          public testing::WithParamInterface<std::string> {
 protected:
  static tuners::TunerOptions options() {
    if (GetParam() == "Prefix") {
      return PrefixTuningOptions{
          .tokens = {.num_virtual_tokens = 3}, .encoder_hidden_size = 5, .prefix_projection = true};
    }
    return PTuningOptions{.tokens = {.num_virtual_tokens = 3},
                          .encoder_reparameterization_type = GetParam(),
                          .encoder_hidden_size = 5};
  }
};

TEST_P(PromptNetworkTest, ReloadedFromOurFilesTheNetworkGoesOn) {
  expect_ok(swift_.add_adapter("default", options()));
  randomise(*swift_.find_adapter("default"));
  expect_ok(tuners::save_swift(swift_, directory_));
  const auto paths = trained_paths(swift_);
  EXPECT_GT(paths.size(), 4U);
  const auto logits = logits_of(*model_);
  expect_ok(swift_.delete_adapter("default"));
  expect_ok(tuners::Swift::from_pretrained(swift_, directory_));
  EXPECT_EQ(trained_paths(swift_), paths);
  EXPECT_TRUE(at::equal(logits_of(*model_), logits));
}

TEST_P(PromptNetworkTest, ReloadedFromPeftsFilesTheTokensGoOn) {
  expect_ok(swift_.add_adapter("default", options()));
  randomise(*swift_.find_adapter("default"));
  expect_ok(tuners::save_peft(swift_, directory_));
  EXPECT_EQ(tuners::read_tensors(directory_ / "adapter_model.safetensors").size(), 1U);
  const auto logits = logits_of(*model_);
  expect_ok(swift_.delete_adapter("default"));
  expect_ok(tuners::Swift::from_pretrained(swift_, directory_));
  EXPECT_EQ(trained_paths(swift_),
            std::set<std::string>{"prompt_encoder.default.embedding.weight"});
  EXPECT_TRUE(at::allclose(logits_of(*model_), logits, 1e-5, 1e-6));
}

INSTANTIATE_TEST_SUITE_P(Networks, PromptNetworkTest, testing::Values("MLP", "LSTM", "Prefix"),
                         [](const auto& info) { return info.param; });

TEST_F(SequenceTunersTest, DropoutInTheLstmIsDrawnByTheStep) {
  expect_ok(swift_.add_adapter("default", PTuningOptions{.tokens = {.num_virtual_tokens = 3},
                                                         .encoder_reparameterization_type = "LSTM",
                                                         .encoder_hidden_size = 5,
                                                         .encoder_dropout = 0.5}));
  const auto first = training_logits(*model_);
  EXPECT_TRUE(at::equal(training_logits(*model_), first));
  EXPECT_FALSE(at::equal(logits_of(*model_), first));
}

// ---- LongLoRA ---------------------------------------------------------------------------------

TEST_F(SequenceTunersTest, GroupsOfAttentionSeeThePrefixAndThemselvesOnly) {
  const TinyModel one_layer(R"("num_hidden_layers": 1)");
  const auto model = one_layer.load();
  SwiftModel swift(*model);
  tuners::LongLoraOptions options;
  options.r = 2;
  options.target_modules = {.names = {"q_proj"}};
  expect_ok(swift.add_adapter("long", options));
  auto ids = some_ids(8);
  const auto plain = training_logits(*model, ids);
  expect_ok(swift.add_adapter("default", PrefixTuningOptions{.tokens = {.num_virtual_tokens = 2}}));
  const auto before = training_logits(*model, ids);
  for (int64_t t = 0; t < 8; ++t)
    EXPECT_FALSE(at::allclose(before[t], plain[t], 1e-3, 1e-3)) << "sees no prefix: " << t;
  ids[0] = (ids[0] + 1) % TinyModel::kVocabulary;
  const auto after = training_logits(*model, ids);
  EXPECT_FALSE(at::allclose(after.narrow(0, 0, 2), before.narrow(0, 0, 2), 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(after.narrow(0, 2, 6), before.narrow(0, 2, 6)));
}

TEST_F(SequenceTunersTest, LongLoraTrainsTheEmbeddingOfATiedModelOnce) {
  const TinyModel tied(R"("tie_word_embeddings": true)");
  const auto model = tied.load();
  SwiftModel swift(*model);
  tuners::LongLoraOptions options;
  options.r = 2;
  options.target_modules = {.names = {"q_proj"}};
  expect_ok(swift.add_adapter("default", options));
  const auto slots = model->parameters();
  EXPECT_TRUE(slots.front()->override_value.get().is_same(slots.back()->override_value.get()));
  EXPECT_EQ(slots.back()->path, "lm_head.weight");
  size_t embeddings = 0;
  for (const auto& path : trained_paths(swift))
    embeddings += path.find("embed") != std::string::npos;
  EXPECT_EQ(embeddings, 1U);
}

TEST_F(SequenceTunersTest, AnEmbeddingThatAnotherAdapterReplacesTakesNoMergedUpdate) {
  using tuners::LoraOptions;
  expect_ok(swift_.add_adapter("saved", LoraOptions{.r = 2,
                                                    .target_modules = {.names = {"q_proj"}},
                                                    .modules_to_save = {"embed_tokens"}}));
  expect_ok(swift_.add_adapter("low",
                               LoraOptions{.r = 2, .target_modules = {.names = {"embed_tokens"}}}));
  const auto status = swift_.merge({"low"});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("low, model.embed_tokens.weight"));
  EXPECT_TRUE(model_->parameters().front()->value().requires_grad()) << "the copy still trains";
  expect_ok(swift_.merge());
}

TEST_F(SequenceTunersTest, LongLoraNamesTheNearestParameter) {
  tuners::LongLoraOptions options;
  options.target_modules = {.names = {"q_proj"}};
  options.embedder_and_normalizer = {.names = {"model.nrom"}};
  EXPECT_THAT(error_of(options), HasSubstr("model.norm.weight"));
  options.embedder_and_normalizer = {.regex = "("};
  EXPECT_THAT(error_of(options), HasSubstr("embedder_and_normalizer"));
}

}  // namespace
}  // namespace tunefleet::models

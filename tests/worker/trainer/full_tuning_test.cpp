#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/worker/models/tiny_model.h"
#include "tests/worker/trainer/small_llama.h"
#include "tuners/model_files.h"
#include "worker/collective/gradient_sync.h"
#include "worker/trainer/adamw.h"

namespace tunefleet::trainer {
namespace {

using testing::HasSubstr;

std::vector<OptimizerGroup> one_group(const tuners::SwiftModel& model) {
  return {{.tensors = model.trainable_set().tensors}};
}

std::string refusal(const tuners::FullOptions& options) {
  const auto model = small_llama();
  const auto made = tuners::FullAdapter::make(options, {.base = *model, .name = "default"});
  return made ? "it was made" : made.error().message;
}

/// The paths that train.
std::set<std::string> trained(const tuners::FullOptions& options) {
  const auto model = small_llama();
  const FullyTuned tuned(*model, options);
  std::set<std::string> paths;
  for (const auto& entry : tuned.swift.trainable_set().tensors) paths.insert(entry.path);
  return paths;
}

TEST(FullAdapter, StartsAsTheBaseAndLeavesItWhenDeactivated) {
  const auto model = small_llama();
  const auto ids = some_rows();
  const auto plain = logits_of(*model, ids);
  FullyTuned tuned(*model);
  EXPECT_TRUE(at::equal(logits_of(*model, ids), plain));
  EXPECT_THAT(tuned.swift.get_trainable_parameters(0.0), testing::HasSubstr("trainable%: 100.00%"));
  {
    const at::NoGradGuard no_grad;
    for (const auto& entry : tuned.swift.trainable_set().tensors) entry.tensor.mul_(1.5);
  }
  EXPECT_FALSE(at::allclose(logits_of(*model, ids), plain));
  ASSERT_TRUE(tuned.swift.deactivate_adapter("default"));
  EXPECT_TRUE(at::equal(logits_of(*model, ids), plain));
  ASSERT_TRUE(tuned.swift.activate_adapter("default"));
  const auto changed = logits_of(*model, ids);
  ASSERT_TRUE(tuned.swift.merge_and_unload());
  EXPECT_TRUE(at::equal(logits_of(*model, ids), changed));
}

TEST(FullAdapter, TrainsWhatIsNotFrozen) {
  const auto all = trained({});
  EXPECT_EQ(all.size(), 3U + 4U * 9U);
  EXPECT_TRUE(all.contains("lm_head.weight"));
  const auto upper = trained({.freeze_parameters = {"model.embed_tokens", "model.layers.0."}});
  EXPECT_EQ(upper.size(), all.size() - 10);
  const auto norms = trained({.freeze_parameters = {"model", "lm_head"},
                              .trainable_parameters_regex = R"(norm\.weight$)"});
  EXPECT_EQ(norms.size(), 4U * 2U + 1U);
  const auto some =
      trained({.freeze_parameters_regex = "mlp", .trainable_parameters = {"model.layers.3.mlp"}});
  EXPECT_EQ(some.size(), all.size() - 9);
  // The embedding is 128 * 32 = 4096 of 39200 numbers, a layer 7744.
  EXPECT_EQ(trained({.freeze_parameters_ratio = 0.1044}).size(), all.size());
  EXPECT_EQ(trained({.freeze_parameters_ratio = 0.1046}).size(), all.size() - 1);
}

TEST(FullAdapter, RefusesWhatCannotBe) {
  EXPECT_THAT(refusal({.freeze_parameters = {"model.embed_tokns"}}),
              HasSubstr("the nearest is model.embed_tokens: model.embed_tokns"));
  EXPECT_THAT(refusal({.freeze_parameters = {""}}), HasSubstr("every parameter is frozen"));
  EXPECT_THAT(refusal({.freeze_parameters_regex = "("}), HasSubstr("freeze_parameters_regex"));
  EXPECT_THAT(refusal({.lisa_activated_layers = 5}),
              HasSubstr("lisa_activated_layers is more than the model has: 5 > 4"));
  EXPECT_THAT(refusal({.int8_modules = {"conv"}}), HasSubstr("contains any of these: conv"));
}

TEST(FullAdapter, ATiedHeadSharesTheEmbeddingsCopy) {
  const models::TinyModel files(R"("tie_word_embeddings": true)");
  const auto model = files.load();
  const FullyTuned tuned(*model);
  const auto set = tuned.swift.trainable_set();
  for (const auto& entry : set.tensors) EXPECT_NE(entry.path, "lm_head.weight");
  const auto ids = at::arange(2, 14).view({1, 12});
  mean_loss(*model, ids).backward();
  const auto together = set.tensors[0].tensor.grad().clone();
  EXPECT_EQ(set.tensors[0].path, "model.embed_tokens.weight");
  // Rows that are no input have the head's part of the gradient alone, and it is not zero.
  EXPECT_GT(together[40].abs().max().item<double>(), 0.0);
}

class SavedModel : public testing::TestWithParam<std::tuple<std::string, uint64_t>> {};

TEST_P(SavedModel, LoadsWithTheSameValues) {
  const auto& [extra, shard_bytes] = GetParam();
  const models::TinyModel files(extra);
  const auto model = files.load();
  FullyTuned tuned(*model, {.freeze_parameters = {"model.layers.0.mlp"}});
  {
    const at::NoGradGuard no_grad;
    at::manual_seed(4);
    for (const auto& entry : tuned.swift.trainable_set().tensors)
      entry.tensor.add_(0.1 * at::randn(entry.tensor.sizes()));
  }
  const auto folder = files.directory() / "saved";
  const auto value_of = [&](const auto& slot) { return tuned.adapter->value_of(slot); };
  ASSERT_TRUE(
      tuners::save_model(*model, value_of, files.directory(), folder, shard_bytes).has_value());
  EXPECT_EQ(std::filesystem::exists(folder / "model.safetensors"), shard_bytes > 10'000);
  const auto again = models::Decoder::load(folder, {.dtype = at::kFloat});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->config().tie_word_embeddings, model->config().tie_word_embeddings);
  const auto ids = at::arange(2, 14).view({1, 12});
  EXPECT_TRUE(at::equal(logits_of(**again, ids), logits_of(*model, ids)));
  // And back into full tuning, as a resumed run does.
  const auto fresh = files.load();
  FullyTuned resumed(*fresh);
  ASSERT_TRUE(resumed.adapter->load(folder).has_value());
  EXPECT_TRUE(at::equal(logits_of(*fresh, ids), logits_of(*model, ids)));
}

INSTANTIATE_TEST_SUITE_P(Models, SavedModel,
                         testing::Combine(testing::Values(R"("tie_word_embeddings": true)",
                                                          R"("tie_word_embeddings": false)"),
                                          testing::Values(uint64_t{3'000}, tuners::kShardBytes)));

TEST(Lisa, ValuesAreMsSwifts) {
  const tuners::MsSwiftCase golden("lisa");
  const auto model = small_llama();
  FullyTuned tuned(*model);
  AdamW optimizer(one_group(tuned.swift), {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6});
  for (int step = 0; step < 8; ++step) {
    tuned.adapter->train_layers(golden.facts["drawn"][step]);
    optimizer.set_groups(one_group(tuned.swift));
    for (const auto& entry : tuned.adapter->tensors()) entry.tensor.mutable_grad().reset();
    const auto loss = mean_loss(*model, golden["input_ids"]);
    EXPECT_NEAR(loss.item<double>(), golden["losses"][step].item<double>(), 1e-5) << step;
    loss.backward();
    optimizer.step(1e-3);
  }
  for (const auto& entry : tuned.adapter->tensors()) {
    // Adam turns a gradient of rounding size into a part of a step, which is 1e-3.
    const auto difference = (entry.tensor - golden["after." + entry.path]).abs();
    EXPECT_LT(difference.max().item<double>(), 1e-4) << entry.path;
    EXPECT_LT(difference.mean().item<double>(), 1e-6) << entry.path;
  }
}

TEST(Lisa, DrawsEveryLayerAsOftenAsAnyOther) {
  std::map<int64_t, int> count;
  for (int64_t draw = 0; draw < 3000; ++draw) {
    const auto layers = tuners::lisa_layers(7, draw, 6, 2);
    ASSERT_EQ(layers.size(), 2U);
    EXPECT_LT(layers[0], layers[1]);
    for (const auto layer : layers) ++count[layer];
  }
  EXPECT_EQ(count.size(), 6U);
  for (const auto& [layer, times] : count) EXPECT_NEAR(times, 1000, 130) << layer;
  EXPECT_EQ(tuners::lisa_layers(7, 5, 6, 2), tuners::lisa_layers(7, 5, 6, 2));
  EXPECT_EQ(tuners::lisa_layers(1, 0, 3, 3), (std::vector<int64_t>{0, 1, 2}));
}

TEST(Lisa, OnlyTheDrawnLayersHaveGradientsAndMove) {
  const auto model = small_llama();
  FullyTuned tuned(*model, {.lisa_activated_layers = 1, .lisa_step_interval = 2});
  const auto group = collective::make_solo_group();
  AdamW optimizer(one_group(tuned.swift), {});
  std::unique_ptr<collective::GradientSync> sync;
  std::set<int64_t> seen;
  for (int64_t step = 0; step < 16; ++step) {
    const bool moved = tuned.swift.before_step({.step = step, .max_steps = 16, .seed = 3});
    if (moved || !sync) {
      sync.reset();
      optimizer.set_groups(one_group(tuned.swift));
      sync = std::make_unique<collective::GradientSync>(tuned.swift.trainable_set(), *group);
    }
    EXPECT_EQ(sync->bytes(), 4 * (2 * 4096 + 32 + 7744));
    std::map<std::string, at::Tensor> before;
    for (const auto& entry : tuned.adapter->tensors())
      before[entry.path] = entry.tensor.detach().clone();
    sync->zero();
    mean_loss(*model, some_rows()).backward();
    const int64_t drawn = tuners::lisa_layers(3, step / 2, 4, 1)[0];
    seen.insert(drawn);
    const std::string layer = "model.layers." + std::to_string(drawn) + ".";
    for (const auto& entry : tuned.adapter->tensors()) {
      const bool trains = entry.path.starts_with(layer) || !entry.path.starts_with("model.layers.");
      EXPECT_EQ(entry.trains, trains) << entry.path;
      EXPECT_EQ(entry.tensor.grad().defined(), trains) << entry.path << " in step " << step;
    }
    optimizer.step(1e-2);
    for (const auto& entry : tuned.adapter->tensors()) {
      EXPECT_EQ(at::equal(entry.tensor, before[entry.path]), !entry.trains)
          << entry.path << " in step " << step;
    }
  }
  EXPECT_GT(seen.size(), 2U);
}

TEST(Int8Weights, AreTheFloatModelOfTheirValues) {
  const auto model = small_llama();
  FullyTuned tuned(*model, {.int8_modules = {"all-linear"}});
  // The same model with the 8-bit values as floats.
  const auto copy = small_llama();
  FullyTuned floats(*copy);
  const auto eights = tuned.adapter->tensors();
  const auto wides = floats.adapter->tensors();
  ASSERT_EQ(eights.size(), wides.size());
  {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < eights.size(); ++i) {
      if (eights[i].int8) wides[i].tensor.copy_(eights[i].int8->read());
    }
  }
  const auto ids = some_rows();
  EXPECT_TRUE(at::allclose(logits_of(*model, ids), logits_of(*copy, ids), 1e-5, 1e-5));
  mean_loss(*model, ids).backward();
  mean_loss(*copy, ids).backward();
  int64_t in_8_bits = 0, bytes = 0;
  for (size_t i = 0; i < eights.size(); ++i) {
    EXPECT_TRUE(at::allclose(eights[i].tensor.grad(), wides[i].tensor.grad(), 1e-4, 1e-6))
        << eights[i].path;
    if (!eights[i].int8) continue;
    ++in_8_bits;
    bytes += eights[i].int8->bytes();
  }
  EXPECT_EQ(in_8_bits, 4 * 7);
  EXPECT_LT(bytes, 4 * 7744 * 103 / 100);  // A byte a number, and 5 bytes for 256.
  ASSERT_TRUE(tuned.swift.merge_and_unload());
  EXPECT_TRUE(at::allclose(logits_of(*model, ids), logits_of(*copy, ids), 1e-5, 1e-5));
}

}  // namespace
}  // namespace tunefleet::trainer

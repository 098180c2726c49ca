#include "tuners/config/lora_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tunefleet::tuners {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(const LoraOptions& options) {
  const Status status = validate(options);
  EXPECT_FALSE(status);
  return status ? "" : status.error().message;
}

TEST(LoraOptionsTest, DefaultsAreValid) { EXPECT_TRUE(validate({})); }

TEST(LoraOptionsTest, RefusesValuesOutOfRangeNamingTheField) {
  EXPECT_THAT(refusal({.r = 0}), HasSubstr("r is below 1: 0"));
  EXPECT_THAT(refusal({.rank_pattern = {{"q_proj", -2}}}), HasSubstr("rank_pattern.q_proj"));
  EXPECT_THAT(refusal({.lora_alpha = std::nan("")}), HasSubstr("lora_alpha"));
  EXPECT_THAT(refusal({.lora_dropout = 1.0}), HasSubstr("lora_dropout"));
  EXPECT_THAT(refusal({.lora_dropout = std::nan("")}), HasSubstr("lora_dropout"));
  EXPECT_THAT(refusal({.bias = "some"}), HasSubstr("none, all, lora_only"));
  EXPECT_THAT(refusal({.init_lora_weights = "pissa_niter_"}), HasSubstr("\"pissa_niter_\""));
  EXPECT_THAT(refusal({.init_lora_weights = "pissa_niter_4x"}), HasSubstr("\"pissa_niter_4x\""));
  EXPECT_THAT(refusal({.init_lora_weights = "loftq"}), HasSubstr("\"loftq\""));
  EXPECT_THAT(refusal({.lora_dtype = "int8"}), HasSubstr("lora_dtype"));
}

TEST(LoraOptionsTest, RefusesWhatPeftRefuses) {
  EXPECT_THAT(refusal({.target_modules = {.regex = ".*"}, .layers_to_transform = {1}}),
              HasSubstr("layers_to_transform"));
  EXPECT_THAT(refusal({.layers_pattern = {"layers"}}), HasSubstr("layers_pattern"));
  EXPECT_THAT(refusal({.r = 3, .init_lora_weights = "orthogonal"}), HasSubstr("even rank"));
  EXPECT_THAT(refusal({.r = 4, .rank_pattern = {{"x", 3}}, .init_lora_weights = "orthogonal"}),
              HasSubstr("rank_pattern.x 3"));
  EXPECT_THAT(refusal({.use_dora = true, .lora_bias = true}), HasSubstr("use_dora"));
  EXPECT_THAT(refusal({.lora_bias = true, .init_lora_weights = "pissa"}),
              HasSubstr("true or false only: pissa"));
}

TEST(LoraOptionsTest, TrainedTokensAreAListOrListsOfModules) {
  const auto tokens = [](const char* json) {
    return trained_tokens({.trainable_token_indices = {json}});
  };
  EXPECT_TRUE(tokens("null")->empty());
  ASSERT_EQ(tokens("[7, 300]")->size(), 1u);
  EXPECT_EQ(tokens("[7, 300]")->front().module, "");
  EXPECT_THAT(tokens("[7, 300]")->front().rows, ElementsAre(7, 300));
  const auto lists = tokens(R"({"embed_tokens": [1], "lm_head": [2, 0]})");
  ASSERT_EQ(lists->size(), 2u);
  EXPECT_EQ(lists->back().module, "lm_head");
  EXPECT_THAT(lists->back().rows, ElementsAre(2, 0));
  for (const char* wrong : {"7", "[]", "[-1]", "[1, 1]", "[1.5]", R"({"embed_tokens": "x"})"}) {
    EXPECT_THAT(refusal({.trainable_token_indices = {wrong}}),
                HasSubstr("trainable_token_indices"))
        << wrong;
  }
}

TEST(LoraOptionsTest, SomeInitialValuesComeFromTheBase) {
  EXPECT_FALSE(base_init_of("true") || base_init_of("gaussian") || base_init_of("pissa_niter_x"));
  EXPECT_EQ(base_init_of("pissa")->niter, -1);
  EXPECT_EQ(base_init_of("pissa_niter_16")->niter, 16);
  EXPECT_TRUE(base_init_of("olora")->qr);
  for (const char* word : {"pissa", "pissa_niter_4", "olora"})
    EXPECT_TRUE(validate({.init_lora_weights = word})) << word;
}

TEST(LoraOptionsTest, RefusesExpressionsThatDoNotCompile) {
  EXPECT_THAT(refusal({.target_modules = {.regex = "q_proj("}}), HasSubstr("target_modules"));
  EXPECT_THAT(refusal({.alpha_pattern = {{"[", 1.0}}}), HasSubstr("alpha_pattern"));
}

TEST(LoraOptionsTest, PatternsOverrideRankAndAlpha) {
  const LoraOptions options{.r = 8,
                            .lora_alpha = 16.0,
                            .rank_pattern = {{"self_attn.q_proj", 4}, {".*_proj", 2}},
                            .alpha_pattern = {{"v_proj", 6.0}}};
  EXPECT_EQ(rank_of(options, "model.layers.0.self_attn.q_proj"), 4);
  EXPECT_EQ(rank_of(options, "model.layers.0.self_attn.v_proj"), 2);
  EXPECT_EQ(rank_of(options, "lm_head"), 8);
  EXPECT_DOUBLE_EQ(scaling_of(options, "model.layers.0.self_attn.v_proj"), 3.0);
  EXPECT_DOUBLE_EQ(scaling_of(options, "lm_head"), 2.0);
}

TEST(LoraOptionsTest, RankStabilisedScalingDividesByTheRoot) {
  EXPECT_DOUBLE_EQ(scaling_of({.r = 16, .lora_alpha = 8.0, .use_rslora = true}, "x"), 2.0);
}

TEST(LoraOptionsFromJobTest, TakesEveryLoraKeyOfTheJob) {
  JobSpec spec;
  spec.target_modules = {"all-linear", "lm_head"};
  spec.exclude_modules = {"down_proj"};
  spec.modules_to_save = {"embed_tokens"};
  spec.layers_to_transform = {1, 2};
  spec.lora_rank = 16;
  spec.lora_bias = "all";
  spec.lora_dtype = "bfloat16";
  spec.use_rslora = true;
  spec.init_weights = "gaussian";
  spec.rank_pattern = {{"q_proj", 4}};
  spec.alpha_pattern = {{"q_proj", 4.5}};
  const auto options = lora_options_from_job(spec);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_TRUE(options->target_modules.all_linear);
  EXPECT_THAT(options->target_modules.names, ElementsAre("lm_head"));
  EXPECT_EQ(options->r, 16);
  EXPECT_EQ(options->lora_alpha, 32.0);
  EXPECT_EQ(options->lora_dropout, 0.05);
  EXPECT_EQ(options->init_lora_weights, "gaussian");
  EXPECT_THAT(options->exclude_modules.names, ElementsAre("down_proj"));
  EXPECT_THAT(options->modules_to_save, ElementsAre("embed_tokens"));
  EXPECT_THAT(options->layers_to_transform, ElementsAre(1, 2));
  EXPECT_EQ(options->bias, "all");
  EXPECT_EQ(options->lora_dtype, "bfloat16");
  EXPECT_TRUE(options->use_rslora);
  EXPECT_EQ(options->rank_pattern.size(), 1u);
  EXPECT_EQ(options->alpha_pattern.size(), 1u);
}

TEST(LoraOptionsFromJobTest, TheRegexWins) {
  JobSpec spec;
  spec.target_regex = ".*q_proj";
  const auto options = lora_options_from_job(spec);
  ASSERT_TRUE(options);
  EXPECT_FALSE(options->target_modules.all_linear);
  EXPECT_EQ(options->target_modules.regex, ".*q_proj");
}

TEST(LoraOptionsFromJobTest, HandsOnWhatValidationRefuses) {
  JobSpec spec;
  spec.lora_rank = 0;
  EXPECT_FALSE(lora_options_from_job(spec));
}

}  // namespace
}  // namespace tunefleet::tuners

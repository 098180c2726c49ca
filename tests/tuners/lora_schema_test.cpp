#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tuners/config/adapter_config.h"
#include "tuners/config/lora_options.h"

namespace tunefleet::tuners {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// What PEFT 0.21.2 writes for LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]).
constexpr std::string_view kPeftDefaults = R"({
  "alora_invocation_tokens": null,
  "alpha_pattern": {},
  "arrow_config": null,
  "auto_mapping": null,
  "base_model_name_or_path": null,
  "bias": "none",
  "corda_config": null,
  "ensure_weight_tying": false,
  "eva_config": null,
  "exclude_modules": null,
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "kasa_config": null,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 8,
  "lora_bias": false,
  "lora_dropout": 0.0,
  "lora_ga_config": null,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": null,
  "monteclora_config": null,
  "peft_type": "LORA",
  "peft_version": "0.21.2",
  "qalora_group_size": 16,
  "r": 8,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "q_proj"
  ],
  "target_parameters": null,
  "task_type": "CAUSAL_LM",
  "trainable_token_indices": null,
  "use_bdlora": null,
  "use_dora": false,
  "use_qalora": false,
  "use_rslora": false,
  "velora_config": null
})";

LoraOptions full_options() {
  return {.r = 4,
          .lora_alpha = 2.5,
          .lora_dropout = 0.25,
          .target_modules = {.names = {"q_proj", "v_proj"}},
          .exclude_modules = {.names = {"lm_head"}},
          .modules_to_save = {"embed_tokens"},
          .layers_to_transform = {0, 3},
          .layers_pattern = {"layers"},
          .rank_pattern = {{"q_proj", 2}},
          .alpha_pattern = {{"q_proj", 7.0}},
          .bias = "lora_only",
          .use_rslora = true,
          .use_dora = true,
          .init_lora_weights = "pissa_niter_4",
          .trainable_token_indices = {"[7,300]"},
          .base_model_name_or_path = "models/tiny",
          .revision = "main",
          .task_type = std::nullopt};
}

struct ReadLora {
  LoraOptions options;
  std::vector<std::string> warnings;
};

Result<ReadLora> read_lora(std::string_view text, const std::string& file_name) {
  const auto read = read_options(LoraOptions::schema(), text, file_name);
  if (!read) return fail(read.error());
  return ReadLora{.options = read->options.as<LoraOptions>(), .warnings = read->warnings};
}

std::string peft_text(const LoraOptions& options) {
  return config_text(options, FileLayout::kPeft);
}
std::string swift_text(const LoraOptions& options) {
  return config_text(options, FileLayout::kSwift);
}

std::string refusal(json object) {
  object.emplace("peft_type", "LORA");
  const auto read = read_lora(object.dump(), "adapter_config.json");
  EXPECT_FALSE(read) << object;
  return read ? "" : read.error().message;
}

TEST(LoraSchemaTest, WritesPeftsTextToTheLetter) {
  EXPECT_EQ(peft_text({.target_modules = {.names = {"q_proj"}}}), kPeftDefaults);
}

TEST(LoraSchemaTest, PeftsFormRoundTrips) {
  for (LoraOptions options : {LoraOptions{}, full_options()}) {
    const auto read = read_lora(peft_text(options), "x");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_THAT(read->warnings, IsEmpty());
    EXPECT_EQ(read->options, options);
  }
}

TEST(LoraSchemaTest, SwiftsFormRoundTripsWithItsOwnKeys) {
  LoraOptions options = full_options();
  options.lora_dtype = "bfloat16";
  options.lorap_lr_ratio = 16.0;
  options.lorap_emb_lr = 1e-5;
  const auto read = read_lora(swift_text(options), "x");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_THAT(read->warnings, IsEmpty());
  EXPECT_EQ(read->options, options);
  const json object = json::parse(swift_text(options));
  EXPECT_EQ(object.at("swift_type"), "LORA");
  EXPECT_EQ(object.at("peft_type"), "LORA");
  EXPECT_TRUE(object.at("model_key_mapping").is_null());
}

TEST(LoraSchemaTest, TextsAsTargetsAreAllLinearOrAnExpression) {
  const auto all = read_lora(R"({"peft_type":"LORA","target_modules":"All-Linear"})", "x");
  ASSERT_TRUE(all);
  EXPECT_TRUE(all->options.target_modules.all_linear);
  const auto regex =
      read_lora(R"({"peft_type":"LORA","target_modules":".*q","exclude_modules":".*k"})", "x");
  ASSERT_TRUE(regex);
  EXPECT_EQ(regex->options.target_modules.regex, ".*q");
  EXPECT_EQ(regex->options.exclude_modules.regex, ".*k");
}

TEST(LoraSchemaTest, PatternsKeepTheFilesOrder) {
  const auto read = read_lora(R"({"peft_type":"LORA","rank_pattern":{"z":1,"a":2}})", "x");
  ASSERT_TRUE(read);
  EXPECT_THAT(read->options.rank_pattern,
              ElementsAre(testing::Pair("z", 1), testing::Pair("a", 2)));
}

TEST(LoraSchemaTest, UnknownKeysAreToldNotRefused) {
  const auto read = read_lora(R"({"peft_type":"LORA","brand_new":1})", "x.json");
  ASSERT_TRUE(read);
  EXPECT_THAT(read->warnings, ElementsAre(HasSubstr("brand_new")));
}

/// EVA's ranks are in rank_pattern; what the values began as no longer matters. A job cannot ask
/// for such a start.
TEST(LoraSchemaTest, StartsDrawnFromDataAreReadAndNotOffered) {
  for (const std::string start : {"eva", "mica"}) {
    const json object{{"init_lora_weights", start}, {"rank_pattern", {{"q_proj", 3}}}};
    const auto read = read_lora(object.dump(), "adapter_config.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->options.init_lora_weights, "true");
    EXPECT_EQ(rank_of(read->options, "q_proj"), 3);
    EXPECT_FALSE(options_from_json(LoraOptions::schema(), object.dump(), "job"));
  }
  EXPECT_NE(refusal({{"init_lora_weights", "corda"}}).find("corda"), std::string::npos);
}

TEST(LoraSchemaTest, RefusesSettingsWhoseMeaningWouldBeLost) {
  for (const char* key : {"use_qalora", "fan_in_fan_out", "use_qa_lora", "use_merged_linear",
                          "ensure_weight_tying"}) {
    EXPECT_THAT(refusal({{key, true}}), HasSubstr(key));
    EXPECT_TRUE(read_lora(json{{"peft_type", "LORA"}, {key, false}}.dump(), "x"));
  }
  for (const char* key : {"target_parameters", "layer_replication"}) {
    EXPECT_THAT(refusal({{key, {1, 2}}}), HasSubstr(key));
  }
  EXPECT_THAT(refusal({{"megatron_config", {{"a", 1}}}}), HasSubstr("megatron_config"));
  EXPECT_THAT(refusal({{"init_lora_weights", "loftq"}}), HasSubstr("loftq"));
}

TEST(LoraSchemaTest, RefusesWrongTypesNamingFileKeyAndValue) {
  EXPECT_THAT(refusal({{"r", "8"}}), HasSubstr("adapter_config.json: not a whole number: r \"8\""));
  EXPECT_THAT(refusal({{"lora_alpha", json::array()}}), HasSubstr("lora_alpha"));
  EXPECT_THAT(refusal({{"target_modules", {1}}}), HasSubstr("target_modules"));
  EXPECT_THAT(refusal({{"rank_pattern", {{"a", 1.5}}}}), HasSubstr("rank_pattern"));
  EXPECT_THAT(refusal({{"r", 0}}), HasSubstr("r must be at least 1: 0"));
}

TEST(AdapterKindTest, ReadsBothWordsAndRefusesTheRest) {
  const auto kind = read_adapter_kind(R"({"peft_type":"LORA","swift_type":"LORA"})", "x");
  ASSERT_TRUE(kind);
  EXPECT_EQ(kind->swift_type, "LORA");
  for (const char* text : {"", "[1]", "{", "{}", R"({"peft_type": 3})", "\xff\xfe"}) {
    EXPECT_FALSE(read_adapter_kind(text, "x")) << text;
  }
}

}  // namespace
}  // namespace tunefleet::tuners

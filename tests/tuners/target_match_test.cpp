#include "tuners/config/target_match.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tuners/config/lora_options.h"
#include "tuners/config/unmatched_names.h"

namespace tunefleet::tuners {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

/// What PEFT says, written by tests/oracle/target_match.py.
json golden() {
  std::ifstream file("tests/tuners/target_match.json");
  return json::parse(file);
}

TEST(TargetMatchGoldenTest, AgreesWithPeftOnEveryPath) {
  const json expected = golden();
  for (const auto& match : expected.at("matches")) {
    json config = match.at("config");
    config["peft_type"] = "LORA";
    const auto read = read_options(LoraOptions::schema(), config.dump(), "golden");
    ASSERT_TRUE(read) << read.error().message;
    const auto matcher = TargetMatcher::create(read->options.as<LoraOptions>());
    ASSERT_TRUE(matcher) << matcher.error().message;
    for (size_t i = 0; i < expected.at("paths").size(); ++i) {
      const std::string path = expected["paths"][i];
      const auto said = matcher->check(path);
      ASSERT_TRUE(said) << said.error().message;
      const char* word = *said == TargetMatch::kYes        ? "yes"
                         : *said == TargetMatch::kExcluded ? "excluded"
                                                           : "no";
      EXPECT_EQ(word, match.at("answers")[i].get<std::string>()) << config << " at " << path;
    }
  }
}

TEST(TargetMatchGoldenTest, PatternKeysAgreeWithPeft) {
  const json expected = golden();
  for (const auto& row : expected.at("patterns")) {
    const std::string path = row.at("path");
    Pattern<std::string> pattern;
    for (const std::string key : row.at("keys")) pattern.emplace_back(key, key);
    const std::string* found = find_pattern(pattern, path);
    EXPECT_EQ(found == nullptr ? path : *found, row.at("key").get<std::string>()) << row;
  }
}

ModelModules two_layers() {
  std::vector<std::string> parameters{"model.embed_tokens.weight"};
  ModelModules model;
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const std::string name : {"self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"}) {
      model.linear.push_back(layer + name);
      parameters.push_back(layer + name + ".weight");
    }
    parameters.push_back(layer + "input_layernorm.weight");
  }
  model.linear.push_back("lm_head");
  parameters.push_back("lm_head.weight");
  model.modules = modules_of_parameters(parameters);
  model.output_embedding = "lm_head";
  model.model_type = "llama";
  return model;
}

std::vector<std::string> targets(const LoraOptions& options) {
  const auto matched = match_targets(options, two_layers());
  EXPECT_TRUE(matched) << matched.error().message;
  return matched.value_or(std::vector<std::string>{});
}

std::string refusal(const LoraOptions& options, const ModelModules& model = two_layers()) {
  const auto matched = match_targets(options, model);
  EXPECT_FALSE(matched);
  return matched ? "" : matched.error().message;
}

TEST(ModulesOfParametersTest, ListsEveryContainerOnceInOrder) {
  EXPECT_THAT(modules_of_parameters({"a.b.weight", "a.b.bias", "a.c.weight", "d.weight", "e"}),
              ElementsAre("a", "a.b", "a.c", "d"));
}

TEST(MatchTargetsTest, AllLinearLeavesTheOutputEmbeddingOut) {
  EXPECT_EQ(targets({.target_modules = {.all_linear = true}}).size(), 6u);
  EXPECT_THAT(targets({.target_modules = {.all_linear = true, .names = {"lm_head"}}}),
              testing::Contains("lm_head"));
}

TEST(MatchTargetsTest, AllLinearCanBeNarrowed) {
  EXPECT_THAT(targets({.target_modules = {.all_linear = true}, .layers_to_transform = {1}}),
              ElementsAre("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj",
                          "model.layers.1.mlp.down_proj"));
  EXPECT_THAT(targets({.target_modules = {.all_linear = true},
                       .exclude_modules = {.regex = ".*self_attn.*"},
                       .modules_to_save = {"lm_head"}}),
              ElementsAre("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"));
}

TEST(MatchTargetsTest, AllEmbeddingIsEveryEmbedding) {
  ModelModules model = two_layers();
  model.embeddings = {"model.embed_tokens"};
  const LayerKinds kinds{.linear = true, .embedding = true};
  const auto both = match_targets(
      LoraOptions{.target_modules = {.names = {"v_proj", "all-embedding"}}}, model, kinds);
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_THAT(*both, ElementsAre("model.embed_tokens", "model.layers.0.self_attn.v_proj",
                                 "model.layers.1.self_attn.v_proj"));
  EXPECT_TRUE(names_kinds({.names = {"all-embedding"}}));
  EXPECT_FALSE(names_kinds({.names = {"embed_tokens"}}));
  EXPECT_FALSE(match_targets(LoraOptions{.target_modules = {.names = {"all-embedding"}}}, model))
      << "a tuner of linear layers only";
}

TEST(MatchTargetsTest, TheModelTypeNamesTheDefault) {
  EXPECT_EQ(targets({}).size(), 4u) << "q_proj and v_proj of two layers";
  ModelModules unknown = two_layers();
  unknown.model_type = "frobnicator";
  EXPECT_THAT(refusal({}, unknown), HasSubstr("frobnicator"));
}

TEST(MatchTargetsTest, NoMatchListsTheNearestNames) {
  EXPECT_THAT(refusal({.target_modules = {.names = {"q_porj"}}}),
              HasSubstr("nearest names q_proj"));
  EXPECT_THAT(refusal({.target_modules = {.regex = "nothing"}}), HasSubstr("\"nothing\""));
  EXPECT_THAT(refusal({.target_modules = {.names = {"q_proj"}}, .layers_to_transform = {7}}),
              HasSubstr("in layers 7"));
}

TEST(MatchTargetsTest, SaysWhenExclusionsLeaveNothing) {
  EXPECT_THAT(refusal({.target_modules = {.names = {"lm_head"}}, .modules_to_save = {"lm_head"}}),
              HasSubstr("excluded"));
}

TEST(MatchTargetsTest, RefusesWhatIsNotALinearLayer) {
  EXPECT_THAT(refusal({.target_modules = {.names = {"input_layernorm"}}}),
              HasSubstr("not a linear layer: model.layers.0.input_layernorm"));
}

TEST(MinimalNamesTest, UsesLastComponentsWhereTheyAreEnough) {
  const ModelModules model = two_layers();
  EXPECT_THAT(minimal_names(targets({.target_modules = {.all_linear = true}}), model),
              ElementsAre("down_proj", "q_proj", "v_proj"));
  EXPECT_THAT(minimal_names({"model.layers.1.self_attn.q_proj", "lm_head"}, model),
              ElementsAre("lm_head", "model.layers.1.self_attn.q_proj"));
}

TEST(PythonRegexTest, ARunawayPatternIsAnErrorNotAHang) {
  const auto regex = PythonRegex::compile("(a+)+[bc]");
  ASSERT_TRUE(regex);
  EXPECT_FALSE(regex->fullmatch(std::string(60, 'a')));
}

TEST(UnmatchedNamesTest, AreToldWithTheNearestThereIs) {
  LoraOptions options{.target_modules = {.names = {"q_proj", "down_porj"}},
                      .exclude_modules = {.names = {"0.self_attn.q_proj", "gate_proj"}}};
  options.rank_pattern = {{"q_proj", 2}, {"qproj", 3}};
  options.alpha_pattern = {{"layers.1.self_attn.q_proj", 2.0}, {"v_proj", 1.0}};
  const std::vector<std::string> acted_on{"model.layers.1.self_attn.q_proj"};
  EXPECT_THAT(
      unmatched_names(options, acted_on, two_layers()),
      ElementsAre("target_modules: down_porj, nearest q_proj",
                  "exclude_modules: gate_proj, nearest q_proj",
                  "rank_pattern: qproj, nearest q_proj", "alpha_pattern: v_proj, nearest q_proj"));
  EXPECT_THAT(
      unmatched_names(LoraOptions{.target_modules = {.names = {"q_proj"}}}, acted_on, two_layers()),
      ElementsAre());
}

}  // namespace
}  // namespace tunefleet::tuners

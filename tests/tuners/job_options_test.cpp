#include "tuners/config/job_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "proto/job_fields.h"
#include "proto/job_spec_parser.h"
#include "tuners/config/job_flat_keys.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/tuner_list.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

ParsedJob parse(const std::string& yaml) {
  return parse_job_yaml("model: m\ndataset: d\n" + yaml, "job.yaml", check_tuners);
}

std::vector<std::string> problems_of(const std::string& yaml) {
  std::vector<std::string> texts;
  for (const auto& problem : parse(yaml).problems) texts.push_back(to_string(problem));
  return texts;
}

NamedOptions tuners_of(const std::string& yaml) {
  const auto parsed = parse(yaml);
  for (const auto& problem : parsed.problems) ADD_FAILURE() << to_string(problem);
  auto tuners = tuner_options_of_job(parsed.spec, {.hidden_size = 48, .max_steps = 10});
  if (!tuners) ADD_FAILURE() << tuners.error().message;
  return tuners ? *std::move(tuners) : NamedOptions{};
}

nlohmann::json value_of(const TunerOptions& options, std::string_view key) {
  const TunerOption* option = find_option(options.schema(), key);
  return option == nullptr ? "no such option"
                           : nlohmann::json::parse(option_json(options, *option));
}

TEST(JobOptions, OfAPlainJobAreLoraWithMsSwiftsDefaults) {
  const auto tuners = tuners_of("");
  ASSERT_THAT(tuners, SizeIs(1));
  EXPECT_EQ(tuners[0].first, "default");
  const auto& lora = tuners[0].second.as<LoraOptions>();
  EXPECT_EQ(lora.r, 8);
  EXPECT_EQ(lora.lora_alpha, 32);
  EXPECT_EQ(lora.lora_dropout, 0.05);
  EXPECT_TRUE(lora.target_modules.all_linear);
}

TEST(JobOptions, TakeEveryFlatKeyOfLora) {
  const auto tuners = tuners_of(R"(
lora_rank: 4
lora_alpha: 16
lora_dropout: 0
lora_bias: all
lora_dtype: bfloat16
use_rslora: true
init_weights: gaussian
lorap_lr_ratio: 16
rank_pattern: {q_proj: 2}
alpha_pattern: {q_proj: 3}
target_regex: .*proj
exclude_modules: [k_proj]
modules_to_save: lm_head
)");
  ASSERT_THAT(tuners, SizeIs(1));
  const auto& lora = tuners[0].second.as<LoraOptions>();
  EXPECT_EQ(lora.r, 4);
  EXPECT_EQ(lora.lora_alpha, 16);
  EXPECT_EQ(lora.lora_dropout, 0);
  EXPECT_EQ(lora.bias, "all");
  EXPECT_EQ(lora.lora_dtype, "bfloat16");
  EXPECT_TRUE(lora.use_rslora);
  EXPECT_EQ(lora.init_lora_weights, "gaussian");
  EXPECT_EQ(lora.lorap_lr_ratio, 16);
  EXPECT_EQ(lora.rank_pattern, (Pattern<int64_t>{{"q_proj", 2}}));
  EXPECT_EQ(lora.alpha_pattern, (Pattern<double>{{"q_proj", 3}}));
  EXPECT_EQ(lora.target_modules.regex, ".*proj");
  EXPECT_THAT(lora.exclude_modules.names, ElementsAre("k_proj"));
  EXPECT_THAT(lora.modules_to_save, ElementsAre("lm_head"));
}

TEST(JobOptions, AreEmptyForFullTuning) { EXPECT_THAT(tuners_of("tuner_type: full"), SizeIs(0)); }

/// One test for all tuners there are and will be.
class EveryTuner : public testing::TestWithParam<const TunerSchema*> {
 protected:
  static std::string name() { return std::string(GetParam()->name); }
  /// What a tuner needs that no job could leave out.
  static std::string needs() {
    std::string yaml;
    for (const auto& option : GetParam()->options) {
      if (option.required && option.key == "target_modules") yaml += "target_regex: .*mlp\n";
    }
    return yaml;
  }
};

TEST_P(EveryTuner, HasItsOwnDefaultsWhereAJobSaysNothing) {
  const auto parsed = parse("tuner_type: " + name() + "\n" + needs());
  if (!parsed.problems.empty()) {
    // Some tuners cannot be said in flat keys; the answer names what is missing.
    EXPECT_THAT(to_string(parsed.problems[0]), HasSubstr("needs"));
    return;
  }
  const auto tuners = tuner_options_of_job(parsed.spec);
  ASSERT_TRUE(tuners) << tuners.error().message;
  ASSERT_THAT(*tuners, SizeIs(1));
  const bool job_defaults = name() == "lora" || name() == "longlora" || name() == "adalora";
  if (job_defaults) return;
  const TunerOptions defaults(*GetParam(), GetParam()->make());
  for (const auto& key : flat_keys(*GetParam())) {
    if (key.job_key == "target_modules") continue;
    const auto own = find_job_field(key.job_key)->section == "Single tuners";
    if (own) continue;  // ms-swift's defaults
    const auto expected = value_of(defaults, key.option->key);
    const auto seen = value_of((*tuners)[0].second, key.option->key);
    EXPECT_EQ(seen, expected) << key.job_key << " -> " << key.option->key;
  }
}

TEST_P(EveryTuner, IsTheSameAfterArgsJson) {
  const auto parsed = parse("tuner_type: " + name() + "\nmodules_to_save: []\n" + needs());
  if (!parsed.problems.empty()) return;
  const auto again = parse_job_json(to_json(parsed.spec), check_tuners);
  for (const auto& problem : again.problems) ADD_FAILURE() << to_string(problem);
  EXPECT_EQ(to_json(again.spec), to_json(parsed.spec));
  const auto first = tuner_options_of_job(parsed.spec);
  const auto second = tuner_options_of_job(again.spec);
  ASSERT_TRUE(first && second);
  EXPECT_EQ((*first)[0].second, (*second)[0].second);
}

TEST_P(EveryTuner, NamesTheNearestOptionAndItsLine) {
  const auto key = std::string(GetParam()->options.front().key);
  const auto problems =
      problems_of("tuners:\n  a:\n    type: " + name() + "\n    " + key + "x: 1\n");
  ASSERT_FALSE(problems.empty());
  EXPECT_THAT(problems[0], HasSubstr("job.yaml:6: tuners.a." + key + "x: " + name() +
                                     " has no such option, did you mean " + key + "?"));
}

INSTANTIATE_TEST_SUITE_P(Tuners, EveryTuner, testing::ValuesIn(tuner_schemas()),
                         [](const auto& each) { return std::string(each.param->name); });

TEST(JobOptions, TakeSeveralTunersByName) {
  const auto tuners = tuners_of(R"(
tuners:
  style: {type: lora, r: 16, target_modules: [q_proj], init_lora_weights: "true", revision: 3}
  facts: {type: lora, lora_alpha: 4}
)");
  ASSERT_THAT(tuners, SizeIs(2));
  EXPECT_EQ(tuners[0].first, "facts");
  EXPECT_EQ(tuners[1].first, "style");
  const auto& facts = tuners[0].second.as<LoraOptions>();
  EXPECT_TRUE(facts.target_modules.all_linear);
  EXPECT_EQ(facts.lora_alpha, 4);
  EXPECT_EQ(facts.lora_dropout, 0);  // PEFT's default: the flat keys are not meant.
  const auto& style = tuners[1].second.as<LoraOptions>();
  EXPECT_EQ(style.r, 16);
  EXPECT_THAT(style.target_modules.names, ElementsAre("q_proj"));
  EXPECT_FALSE(style.target_modules.all_linear);
  EXPECT_EQ(style.revision, "3");
}

struct Refused {
  const char* yaml;
  const char* message;
};

class RefusedTuners : public testing::TestWithParam<Refused> {};

TEST_P(RefusedTuners, AreToldAtTheirKey) {
  const auto problems = problems_of(GetParam().yaml);
  ASSERT_FALSE(problems.empty());
  EXPECT_THAT(problems[0], HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, RefusedTuners,
    testing::Values(
        Refused{"tuner_type: lroa", "job.yaml:3: tuner_type: no such tuner, did you mean lora?"},
        Refused{"tuner_type: fulll", "no such tuner, did you mean full?"},
        Refused{"tuner_type: zzzzzzzz", "no such tuner, there are"},
        Refused{"tuner_type: DoRA", "no such tuner, it is lora with use_dora: true: DoRA"},
        Refused{"tuner_type: LoRA", "no such tuner, did you mean lora?: LoRA"},
        Refused{"tuner_type: part\nlora_rank: 4",
                "job.yaml:4: lora_rank: has no use with tuner_type: part"},
        Refused{"tuner_type: vera\nlora_rank: 4",
                "lora_rank: has no use with tuner_type: vera, use vera_rank"},
        Refused{"tuner_type: adalora\nlora_rank: 4",
                "tuner_type: adalora, use adalora_init_r and adalora_target_r"},
        Refused{"tuner_type: prompt", "tuner_type: prompt needs a value for target_modules"},
        Refused{"vera_rank: 4", "job.yaml:3: vera_rank: has no use with tuner_type: lora"},
        Refused{"tuner_type: full\nlora_rank: 4", "lora_rank: has no use with tuner_type: full"},
        Refused{"init_weights: gausian", "init_weights: lora option init_lora_weights takes"},
        Refused{"init_weights: orthogonal\nlora_rank: 3", "need an even rank"},
        Refused{"target_regex: '(['", "job.yaml:3: target_regex: lora option target_modules"},
        Refused{"tuners: {a: {r: 4}}", "tuners.a: has no type"},
        Refused{"tuners: {a: {type: lroa}}", "tuners.a.type: no such tuner, did you mean lora?"},
        Refused{"tuners: {a: {type: full}}", "tuners.a.type: no such tuner"},
        Refused{"tuners: {a: {type: lora, r: many}}", "tuners.a.r: not a whole number: \"many\""},
        Refused{"tuners: {a: {type: lora, r: 0}}", "tuners.a.r: lora option r must be at least 1"},
        Refused{"tuners: {a/b: {type: lora}}", "tuners.a/b: names are letters, digits"},
        Refused{"tuners: {peft: {type: lora}}", "not extra_states, peft or state"},
        Refused{"tuners: {a: {type: lora}}\nlora_rank: 4", "lora_rank: has no use with tuners"},
        Refused{"tuners: {a: {type: lora}}\ntuner_type: full",
                "tuner_type: conflicts with tuners"}));

TEST(JobOptions, TellAllProblemsAtOnce) {
  EXPECT_THAT(problems_of("tuners:\n  a: {type: lora, rr: 1, lora_dropout: 2}\n  b: {type: x}\n"),
              ElementsAre(HasSubstr("tuners.a.rr: lora has no such option, did you mean r?"),
                          HasSubstr("tuners.b.type: no such tuner")));
  JobSpec spec;
  spec.tuners = {{"a", R"({"type": "lora", "r": 0, "lora_dropout": 2})"}};
  const auto tuners = tuner_options_of_job(spec);
  ASSERT_FALSE(tuners);
  EXPECT_EQ(tuners.error().message,
            "tuners.a.r: lora option r must be at least 1: 0\n"
            "tuners.a.lora_dropout: lora option lora_dropout must be from 0 to below 1: 2");
}

}  // namespace
}  // namespace tunefleet::tuners

#include "coordinator/sweep/sweep_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <set>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::SizeIs;

json section(json parameters, json more = json::object()) {
  json value = {{"parameters", std::move(parameters)}};
  value.update(more);
  return value;
}

SweepProblem problem_of(const json& value) {
  const auto read = read_sweep_template(value);
  return read ? SweepProblem{} : read.error();
}

TEST(SweepTemplate, AGridHasEveryCombinationOnce) {
  const auto read =
      read_sweep_template(section({{"lora_rank", {8, 16, 32}}, {"tuner_type", {"lora", "loha"}}}));
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_THAT(read->trials, SizeIs(6));
  EXPECT_EQ(read->trials[0], json({{"lora_rank", 8}, {"tuner_type", "lora"}}));
  EXPECT_EQ(read->trials[1], json({{"lora_rank", 8}, {"tuner_type", "loha"}}));
  EXPECT_EQ(std::set<json>(read->trials.begin(), read->trials.end()).size(), 6U);
  EXPECT_EQ(read->plan.metric, "eval_loss");
  EXPECT_EQ(read->plan.max_parallel, 6);
  EXPECT_FALSE(read->plan.halving);
}

TEST(SweepTemplate, ARangeIsCutEvenlyOrByFactors) {
  const auto linear =
      read_sweep_template(section({{"lora_alpha", {{"min", 10}, {"max", 40}, {"count", 4}}}}));
  ASSERT_TRUE(linear);
  EXPECT_EQ(linear->trials[1], json({{"lora_alpha", 20}}));
  EXPECT_EQ(linear->trials[3], json({{"lora_alpha", 40}}));
  const auto log = read_sweep_template(
      section({{"learning_rate", {{"min", 1e-5}, {"max", 1e-3}, {"scale", "log"}, {"count", 3}}}}));
  ASSERT_TRUE(log);
  EXPECT_EQ(log->trials[0]["learning_rate"], 1e-5);
  EXPECT_NEAR(log->trials[1]["learning_rate"].get<double>(), 1e-4, 1e-12);
  EXPECT_EQ(log->trials[2]["learning_rate"], 1e-3);
}

RC_GTEST_PROP(SweepTemplateLaws, RandomTrialsLieWithinAndAreTheSameAgain, ()) {
  const auto seed = *rc::gen::inRange<int64_t>(0, 1000);
  const auto samples = *rc::gen::inRange<int64_t>(1, 30);
  const json value = section(
      {{"learning_rate", {{"min", 1e-5}, {"max", 1e-2}, {"scale", "log"}}}, {"lora_rank", {4, 8}}},
      {{"strategy", "random"}, {"samples", samples}, {"seed", seed}});
  const auto read = read_sweep_template(value);
  RC_ASSERT(read.has_value());
  RC_ASSERT(static_cast<int64_t>(read->trials.size()) == samples);
  RC_ASSERT(read_sweep_template(value)->trials == read->trials);
  for (const json& trial : read->trials) {
    const auto rate = trial.at("learning_rate").get<double>();
    RC_ASSERT(rate >= 1e-5 && rate < 1e-2);
    RC_ASSERT(trial.at("lora_rank") == 4 || trial.at("lora_rank") == 8);
  }
}

TEST(SweepTemplate, ReadsHalving) {
  const auto read = read_sweep_template(
      section({{"lora_rank", {8, 16}}}, {{"metric", "loss"},
                                         {"halving", {{"min_steps", 10}, {"max_steps", 90}}},
                                         {"max_parallel", 2}}));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->plan.halving, (Halving{.eta = 3, .min_steps = 10, .max_steps = 90}));
  EXPECT_EQ(read->plan.max_parallel, 2);
}

struct BadSection {
  json value;
  std::string path;
};

TEST(SweepTemplate, NamesTheKeyThatIsWrong) {
  const json ranks = {{"lora_rank", {8, 16}}};
  const auto range = [](json of) { return section({{"learning_rate", std::move(of)}}); };
  const std::vector<BadSection> bad{
      {json::array(), "sweep"},
      {json::object(), "sweep.parameters"},
      {section(json::object()), "sweep.parameters"},
      {section({{"lora_rank", 8}}), "sweep.parameters.lora_rank"},
      {section({{"lora_rank", {8, 8}}}), "sweep.parameters.lora_rank"},
      {range({{"max", 1}, {"count", 3}}), "sweep.parameters.learning_rate.min"},
      {range({{"min", 1}, {"max", 1}, {"count", 3}}), "sweep.parameters.learning_rate.max"},
      {range({{"min", 0}, {"max", 1}, {"scale", "log"}, {"count", 3}}),
       "sweep.parameters.learning_rate.min"},
      {range({{"min", 1}, {"max", 2}}), "sweep.parameters.learning_rate.count"},
      {range({{"min", 1}, {"max", 2}, {"cuont", 3}}), "sweep.parameters.learning_rate.cuont"},
      {section(ranks, {{"strategy", "bayes"}}), "sweep.strategy"},
      {section(ranks, {{"strategy", "random"}}), "sweep.samples"},
      {section(ranks, {{"samples", 3}}), "sweep.samples"},
      {section(ranks, {{"metric", "accuracy"}}), "sweep.metric"},
      {section(ranks, {{"max_parallel", 0}}), "sweep.max_parallel"},
      {section(ranks, {{"halving", {{"max_steps", 9}}}}), "sweep.halving.min_steps"},
      {section(ranks, {{"halving", {{"min_steps", 9}, {"max_steps", 9}}}}),
       "sweep.halving.max_steps"},
      {section(ranks, {{"halving", {{"eta", 1}, {"min_steps", 1}, {"max_steps", 9}}}}),
       "sweep.halving.eta"},
      {section({{"a", {{"min", 0}, {"max", 100}, {"count", 60}}}, {"b", {1, 2}}}),
       "sweep.parameters"},
      {section(ranks, {{"halvnig", json::object()}}), "sweep.halvnig"}};
  for (const auto& [value, path] : bad) EXPECT_EQ(problem_of(value).path, path) << value;
  EXPECT_THAT(problem_of(section(ranks, {{"halvnig", 1}})).message, HasSubstr("halving"));
}

}  // namespace
}  // namespace tunefleet::coordinator

#include "coordinator/client/tuner_commands.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "coordinator/client/adapter_commands.h"
#include "coordinator/client/adapter_summary.h"
#include "coordinator/client/command.h"
#include "coordinator/client/text_format.h"
#include "coordinator/client/training_methods.h"
#include "proto/job_fields.h"
#include "proto/job_spec_parser.h"
#include "storage/safetensors.h"
#include "tuners/config/job_options.h"
#include "tuners/config/tuner_list.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

Outcome run(int (*command)(int, char**), std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = command(static_cast<int>(words.size()), arguments.data());
  std::fflush(nullptr);
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

void expect_narrow(const std::string& text, size_t width) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(display_width(line), width) << line;
}

TEST(TunersCommand, FitsAnOrdinaryTerminal) {
  expect_narrow(tuners_table(), kTunersWidth);
  for (const auto* schema : tuners::tuner_schemas())
    expect_narrow(tuner_page(*schema), kTunersWidth);
  expect_narrow(training_methods_table(kTunersWidth), kTunersWidth);
  for (const auto& method : training_methods())
    expect_narrow(training_method_page(method, kTunersWidth), kTunersWidth);
}

TEST(TunersCommand, TellsEveryTunerAndEveryOption) {
  const auto outcome = run(&run_tuners, {"tunefleet tuners", "--json"});
  EXPECT_EQ(outcome.code, kExitOk);
  const auto all = json::parse(outcome.out);
  ASSERT_EQ(all.size(), tuners::tuner_schemas().size() + training_methods().size());
  for (size_t i = 0; i < tuners::tuner_schemas().size(); ++i) {
    const auto& schema = *tuners::tuner_schemas()[i];
    EXPECT_EQ(all[i]["name"], schema.name);
    EXPECT_EQ(all[i]["adapter"], true);
    ASSERT_EQ(all[i]["options"].size(), schema.options.size()) << schema.name;
    const auto page = tuner_page(schema);
    for (const auto& option : schema.options) EXPECT_THAT(page, HasSubstr(option.key));
    EXPECT_FALSE(schema.summary.empty()) << schema.name;
  }
}

TEST(TunersCommand, TellsOneTuner) {
  const auto outcome = run(&run_tuners, {"tunefleet tuners", "lora", "--json"});
  const auto lora = json::parse(outcome.out);
  EXPECT_EQ(lora["peft_type"], "LORA");
  EXPECT_EQ(lora["formats"], json({"peft", "ms-swift"}));
  EXPECT_EQ(lora["can_merge"], true);
  const auto& rank = lora["options"][0];
  EXPECT_EQ(rank["key"], "r");
  EXPECT_EQ(rank["job_key"], "lora_rank");
  EXPECT_EQ(rank["kind"], "whole number");
  EXPECT_EQ(rank["default"], 8);
  EXPECT_EQ(rank["limits"]["min"], 1);
  EXPECT_THAT(
      run(&run_tuners, {"tunefleet tuners", "lora"}).out,
      AllOf(HasSubstr("arXiv:2106.09685"), HasSubstr("(lora_rank)"), HasSubstr("At least 1.")));
}

TEST(TunersCommand, ListsWaysOfTrainingThatAreNoAdapters) {
  const auto table = run(&run_tuners, {"tunefleet tuners"}).out;
  for (const char* name :
       {"full", "lisa", "galore", "q-galore", "lora+", "liger", "unsloth", "neftune"}) {
    EXPECT_THAT(table, HasSubstr(std::string("\n") + name)) << name;
    EXPECT_NE(find_training_method(name), nullptr) << name;
  }
  const auto all = json::parse(run(&run_tuners, {"tunefleet tuners", "--json"}).out);
  for (const auto& each : all) {
    if (each["name"] == "lisa") {
      EXPECT_EQ(each["adapter"], false);
    }
  }
}

TEST(TunersCommand, TellsAMethodsJobKeysWithTheirDefaults) {
  const auto page = run(&run_tuners, {"tunefleet tuners", "galore"}).out;
  EXPECT_THAT(page, AllOf(HasSubstr("arXiv:2403.03507"), HasSubstr("galore_update_proj_gap"),
                          HasSubstr("use_galore: true"), HasSubstr("50")));
  const auto lisa = json::parse(run(&run_tuners, {"tunefleet tuners", "lisa", "--json"}).out);
  EXPECT_EQ(lisa["settings"], "tuner_type: full, lisa_activated_layers: 2");
  EXPECT_EQ(lisa["options"][1]["key"], "lisa_step_interval");
  EXPECT_EQ(lisa["options"][1]["default"], 20);
  EXPECT_EQ(lisa["options"][1]["limits"]["min"], 1);
  EXPECT_THAT(run(&run_tuners, {"tunefleet tuners", "q_galore"}).out,
              HasSubstr("galore_cos_threshold"));
  EXPECT_THAT(run(&run_tuners, {"tunefleet tuners", "neftune"}).out,
              AllOf(HasSubstr("noise_alpha"), HasSubstr("neftune_noise_alpha: 5")));
}

/// What turns a method on is a job's YAML that the parser takes.
TEST(TrainingMethods, SettingsAreThoseOfAJob) {
  for (const auto& method : training_methods()) {
    const auto text = fmt::format("{{model: m, dataset: d.jsonl, {}}}", method.settings);
    const auto spec = to_result(parse_job_yaml(text, "job.yaml", tuners::check_tuners));
    EXPECT_TRUE(spec) << method.name << ": " << spec.error().message;
  }
}

TEST(TrainingMethods, EveryKeyOfTheirSectionsBelongsToOne) {
  for (const auto& field : job_fields()) {
    if (field.section != "Full tuning" && field.section != "GaLore") continue;
    const bool known =
        std::any_of(training_methods().begin(), training_methods().end(), [&](const auto& method) {
          return std::find(method.keys.begin(), method.keys.end(), field.key) != method.keys.end();
        });
    EXPECT_TRUE(known) << "add the key to a method of training_methods.cpp: " << field.key;
  }
}

TEST(TunersCommand, NamesTheNearestOfAnUnknownTuner) {
  EXPECT_THAT(run(&run_tuners, {"tunefleet tuners", "galroe"}).err,
              HasSubstr("did you mean galore?"));
  const auto outcome = run(&run_tuners, {"tunefleet tuners", "lroa"});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, HasSubstr("did you mean lora?"));
}

/// A run with two checkpoints, each with one adapter.
class AdaptersCommand : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* checkpoint : {"checkpoint-9", "checkpoint-10"})
      write(directory_ / checkpoint / "default");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static void write(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "adapter_config.json")
        << R"({"peft_type": "LORA", "swift_type": "LORA", "r": 4, "target_modules": ["q_proj"],
               "base_model_name_or_path": "models/tiny"})";
    const std::vector<float> values(64);
    std::vector<storage::TensorView> views;
    for (const char* layer : {"0", "1"}) {
      storage::TensorView view;
      view.name = std::string("model.layers.") + layer + ".q_proj.lora_A.default.weight";
      view.shape = {4, 16};
      view.data = reinterpret_cast<const std::byte*>(values.data());
      view.bytes = values.size() * sizeof(float);
      views.push_back(view);
    }
    ASSERT_TRUE(storage::write_safetensors(folder / "adapter_model.safetensors", views, {}));
  }

  Outcome adapters(std::vector<std::string> words) const {
    words.insert(words.begin(), "tunefleet adapters");
    return run(&run_adapters, std::move(words));
  }

  std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("adapters." + std::to_string(getpid()));
};

TEST_F(AdaptersCommand, ListsThoseOfEachCheckpointInTheirOrder) {
  const auto listed = json::parse(adapters({"list", directory_.string(), "--json"}).out);
  ASSERT_THAT(listed, SizeIs(2));
  EXPECT_THAT(listed[0]["directory"].get<std::string>(), HasSubstr("checkpoint-9"));
  EXPECT_EQ(listed[0]["tuner"], "lora");
  EXPECT_EQ(listed[0]["trainable_numbers"], 128);
  EXPECT_THAT(adapters({"list", directory_.string()}).out,
              AllOf(HasSubstr("checkpoint-10"), HasSubstr("ms-swift"), HasSubstr("128")));
}

TEST_F(AdaptersCommand, TellsWhatAnAdapterHolds) {
  const auto folder = (directory_ / "checkpoint-9").string();
  const auto adapter = json::parse(adapters({"inspect", folder, "--json"}).out);
  EXPECT_EQ(adapter["base_model"], "models/tiny");
  EXPECT_EQ(adapter["set_options"], (json{{"r", 4}, {"target_modules", {"q_proj"}}}));
  ASSERT_THAT(adapter["tensors"], SizeIs(2));
  EXPECT_EQ(adapter["tensors"][0]["shape"], json({4, 16}));
  const auto page = adapters({"inspect", folder}).out;
  EXPECT_THAT(page, AllOf(HasSubstr("default (lora)"), HasSubstr("128 in 2 tensors"),
                          HasSubstr("r=4"), HasSubstr("model.layers.*.q_proj.lora_A")));
  EXPECT_THAT(page, HasSubstr("x2"));
  EXPECT_THAT(adapters({"inspect", folder, "--all"}).out, HasSubstr("model.layers.1.q_proj"));
}

TEST_F(AdaptersCommand, MissingWeightsAreNoPickledOnes) {
  const auto folder = directory_ / "checkpoint-9";
  std::filesystem::remove(folder / "default/adapter_model.safetensors");
  EXPECT_THAT(adapters({"inspect", folder.string()}).out,
              AllOf(HasSubstr("no file of weights here"), Not(HasSubstr("pickled"))));
}

TEST_F(AdaptersCommand, SaysWhyThereIsNothing) {
  std::filesystem::create_directories(directory_ / "empty");
  auto outcome = adapters({"list", (directory_ / "empty").string()});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, HasSubstr("no adapter here"));
  std::ofstream(directory_ / "checkpoint-9/default/adapter_model.safetensors") << "no";
  outcome = adapters({"inspect", (directory_ / "checkpoint-9").string()});
  EXPECT_EQ(outcome.code, kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr("adapter_model.safetensors"));
}

TEST(WrappedTable, GoesOnBelowTheLastColumn) {
  EXPECT_EQ(format_table({{"A", "B"}, {"one", "two three four"}}, 14),
            "A    B\none  two three\n     four\n");
  EXPECT_EQ(grouped_number(1234567), "1,234,567");
  EXPECT_EQ(grouped_number(-123456), "-123,456");
  EXPECT_EQ(grouped_number(999), "999");
}

}  // namespace
}  // namespace tunefleet::coordinator

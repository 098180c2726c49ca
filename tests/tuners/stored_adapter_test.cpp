#include "tuners/config/stored_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace tunefleet::tuners {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StoredAdapters : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(directory_); }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& folder, const std::string& config) const {
    std::filesystem::create_directories(directory_ / folder);
    std::ofstream(directory_ / folder / "adapter_config.json") << config;
  }
  std::vector<std::string> names() const {
    const auto stored = list_adapters(directory_);
    if (!stored) return {stored.error().message};
    std::vector<std::string> names;
    for (const auto& each : *stored) names.push_back(each.name);
    return names;
  }

  static constexpr const char* kSwift = R"({"peft_type": "LORA", "swift_type": "LORA"})";
  static constexpr const char* kPeft = R"({"peft_type": "IA3"})";
  std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("stored_adapters." + std::to_string(getpid()));
};

TEST_F(StoredAdapters, OfACheckpointStandInItOnceWhateverTheTuner) {
  write("default", kSwift);
  write("peft", R"({"peft_type": "LORA"})");
  EXPECT_THAT(names(), ElementsAre("default"));
  write("default", kPeft);
  write("peft", kPeft);
  EXPECT_THAT(names(), ElementsAre("default"));
  write("style", kSwift);
  EXPECT_THAT(names(), ElementsAre("default", "style"));
}

TEST_F(StoredAdapters, OfAPeftFolderStandInItsRootAndBeside) {
  write("", kPeft);
  EXPECT_THAT(names(), ElementsAre("default"));
  write("peft", kPeft);
  write("b", kPeft);
  EXPECT_THAT(names(), ElementsAre("default", "b", "peft"));
}

TEST_F(StoredAdapters, MayLieInThePeftFolderAlone) {
  write("peft", kPeft);
  EXPECT_THAT(names(), ElementsAre("peft"));
}

TEST_F(StoredAdapters, AreMissedByName) {
  EXPECT_THAT(names(), ElementsAre(HasSubstr("no adapter here")));
  write("default", "[]");
  EXPECT_THAT(names(), ElementsAre(HasSubstr("not a JSON object")));
}

TEST_F(StoredAdapters, AreRefusedBesideExtraStates) {
  write("default", kSwift);
  std::filesystem::create_directories(directory_ / "extra_states");
  EXPECT_THAT(names(), ElementsAre(HasSubstr("extra_states")));
}

}  // namespace
}  // namespace tunefleet::tuners

#include "coordinator/launch/run_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace tunefleet::coordinator {
namespace {

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectoryTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tf-run-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~RunDirectoryTest() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_;
};

TEST_F(RunDirectoryTest, HoldsTheSpecAndNothingOfAnEarlierAttempt) {
  const auto first = prepare_run_directory(directory_ / "jobs", "ftjob-a", {{"seed", 1}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->is_absolute());
  std::ofstream(*first / "exit/0.json") << "{}";
  std::ofstream(*first / "result.json") << "{}";
  std::ofstream(*first / "logging.jsonl") << "{}";
  const auto second = prepare_run_directory(directory_ / "jobs", "ftjob-a", {{"seed", 2}});
  ASSERT_TRUE(second);
  EXPECT_EQ(*first, *second);
  EXPECT_FALSE(std::filesystem::exists(*second / "exit/0.json"));
  EXPECT_FALSE(std::filesystem::exists(*second / "result.json"));
  EXPECT_TRUE(std::filesystem::exists(*second / "logging.jsonl"));
  std::ifstream in(*second / "job.json");
  EXPECT_EQ(nlohmann::json::parse(in)["seed"], 2);
}

TEST_F(RunDirectoryTest, AnIdIsNotAPath) {
  for (const char* id : {"", "..", "a/b", "../a", "a b", "a.b"}) {
    const auto made = prepare_run_directory(directory_, id, {});
    ASSERT_FALSE(made) << id;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(RunDirectoryTest, ADirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(directory_ / "file") << "x";
  const auto made = prepare_run_directory(directory_ / "file", "ftjob-a", {});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find((directory_ / "file").string()), std::string::npos);
}

}  // namespace
}  // namespace tunefleet::coordinator

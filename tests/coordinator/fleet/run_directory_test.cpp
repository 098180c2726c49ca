#include "coordinator/launch/run_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "proto/job_spec_parser.h"
#include "tuners/config/job_options.h"

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
  const auto first =
      prepare_run_directory(directory_ / "jobs", {.id = "ftjob-a", .spec = {{"seed", 1}}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->is_absolute());
  std::ofstream(*first / "exit/0.json") << "{}";
  std::ofstream(*first / "result.json") << "{}";
  std::ofstream(*first / "logging.jsonl") << "{}";
  const auto second =
      prepare_run_directory(directory_ / "jobs", {.id = "ftjob-a", .spec = {{"seed", 2}}});
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
    const auto made = prepare_run_directory(directory_, {.id = id});
    ASSERT_FALSE(made) << id;
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(RunDirectoryTest, ADirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(directory_ / "file") << "x";
  const auto made = prepare_run_directory(directory_ / "file", {.id = "ftjob-a"});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find((directory_ / "file").string()), std::string::npos);
}

TEST(AttemptSpec, ALaterAttemptGoesOnFromTheNewestCheckpoint) {
  JobRecord job{.id = "j", .spec = {{"adapters", {"/a"}}, {"resume_from_checkpoint", nullptr}}};
  EXPECT_EQ(attempt_spec(job, true), job.spec) << "the first attempt is the job as it was sent";
  job.attempt = 1;
  EXPECT_EQ(attempt_spec(job, false), job.spec) << "nothing was saved";
  const auto again = attempt_spec(job, true);
  EXPECT_EQ(again["resume_from_checkpoint"], "latest");
  EXPECT_TRUE(again["adapters"].empty()) << "the checkpoint brings its own";
}

/// Beside adapters, keys about a tuner are of no effect; they must not stop the next attempt.
TEST(AttemptSpec, ALaterAttemptOfAJobWithAdaptersIsAJobToo) {
  for (const auto& own : {nlohmann::json{{"tuner_type", "vera"}, {"lora_rank", 16}},
                          nlohmann::json{{"tuner_type", "restuning"}},
                          nlohmann::json{{"lora_rank", 16}, {"lorap_lr_ratio", 4.0}}}) {
    nlohmann::json sent{{"model", "/m"}, {"dataset", {"/d.jsonl"}}, {"adapters", {"/a"}}};
    sent.update(own);
    const auto parsed = parse_job_json(sent, tuners::check_tuners);
    ASSERT_TRUE(parsed.problems.empty()) << own << parsed.problems.front().message;
    JobRecord job{.id = "j", .spec = nlohmann::json::parse(to_json(parsed.spec).dump())};
    job.attempt = 1;
    const auto again = parse_job_json(attempt_spec(job, true), tuners::check_tuners);
    ASSERT_TRUE(again.problems.empty()) << own << again.problems.front().message;
    EXPECT_EQ(again.spec.lora_rank, parsed.spec.lora_rank);
    EXPECT_EQ(again.spec.lorap_lr_ratio, parsed.spec.lorap_lr_ratio);
  }
}

TEST(AttemptSpec, FewerRowsAtOnceMakeTheSameStep) {
  JobRecord job{.id = "j",
                .max_workers = 2,
                .half_batch = true,
                .spec = {{"per_device_train_batch_size", 4}, {"gradient_accumulation_steps", 3}}};
  EXPECT_EQ(attempt_spec(job, false)["per_device_train_batch_size"], 2);
  EXPECT_EQ(attempt_spec(job, false)["gradient_accumulation_steps"], 6);
  job.spec = {{"per_device_train_batch_size", 9}, {"gradient_accumulation_steps", nullptr}};
  EXPECT_EQ(attempt_spec(job, false)["per_device_train_batch_size"], 3);
  EXPECT_EQ(attempt_spec(job, false)["gradient_accumulation_steps"], 3) << "of one, by default";
}

}  // namespace
}  // namespace tunefleet::coordinator

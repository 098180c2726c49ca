#include "worker/agent/run_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace tunefleet::agent {
namespace {

class RunFilesTest : public testing::Test {
 protected:
  RunFilesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tf-files-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~RunFilesTest() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_;
};

TEST_F(RunFilesTest, ReportsComeBackAsTheyWereWritten) {
  ASSERT_TRUE(write_exit_report(
      directory_, {.rank = 1, .host = "h", .pid = 7, .signal = 9, .ended_at_ms = 123}));
  ASSERT_TRUE(write_exit_report(directory_, {.rank = 12, .exit_code = 3, .terminated_at_ms = 5}));
  ASSERT_TRUE(write_rank_error(directory_, 12, {.code = "timeout", .message = "slow \xff disk"}));
  ASSERT_TRUE(write_exec_rank(directory_, 1, {.pid = 4711, .host = "h"}));
  ASSERT_TRUE(write_part_note(directory_, "3", {.ended = false, .message = "leaves"}));
  const RankFiles files = read_rank_files(directory_);
  ASSERT_EQ(files.exits.size(), 2U);
  EXPECT_EQ(files.exits.at(1).signal, 9);
  EXPECT_EQ(files.exits.at(1).pid, 7);
  EXPECT_EQ(files.exits.at(1).ended_at_ms, 123);
  EXPECT_EQ(files.exits.at(12).exit_code, 3);
  EXPECT_EQ(files.exits.at(12).terminated_at_ms, 5);
  EXPECT_EQ(files.errors.at(12).code, "timeout");
  EXPECT_EQ(files.exec_ranks.at(1).pid, 4711);
  EXPECT_EQ(files.exec_ranks.at(1).host, "h");
  ASSERT_EQ(files.parts.size(), 1U);
  EXPECT_FALSE(files.parts.at("3").ended) << "a host may be called like a rank";
  EXPECT_EQ(files.parts.at("3").message, "leaves");
}

TEST_F(RunFilesTest, WhatCannotBeUnderstoodIsAbsent) {
  std::ofstream(directory_ / "0.json") << "{";
  std::ofstream(directory_ / "1.json") << "[1]";
  std::ofstream(directory_ / "x.json") << "{}";
  EXPECT_TRUE(read_rank_files(directory_).exits.empty());
  EXPECT_TRUE(read_rank_files(directory_ / "none").exits.empty());
  EXPECT_FALSE(read_gang_note(directory_));
}

TEST_F(RunFilesTest, AGangNoteKeepsHowItEnded) {
  ASSERT_TRUE(write_gang_note(directory_, {.attempt = 2, .host = "h"}));
  EXPECT_FALSE(read_gang_note(directory_)->ended);
  ASSERT_TRUE(
      write_gang_note(directory_, {.attempt = 2, .host = "h", .ended = {{{"succeeded", true}}}}));
  const auto note = read_gang_note(directory_);
  EXPECT_EQ(note->attempt, 2);
  ASSERT_TRUE(note->ended);
  EXPECT_EQ((*note->ended)["succeeded"], true);
}

TEST_F(RunFilesTest, WhatCannotBeReadIsEmpty) {
  // Each can be opened; reading fails: as of a process that has ended in between.
  for (const char* path : {"/", "/proc/self/mem"}) {
    EXPECT_EQ(file_text(path), "") << path;
    EXPECT_EQ(text_from(path, 3), "") << path;
  }
  EXPECT_EQ(file_text("/nowhere"), "");
}

TEST_F(RunFilesTest, TextFromReadsOn) {
  std::ofstream(directory_ / "log") << "older\nnewer\n";
  EXPECT_EQ(text_from(directory_ / "log", 6), "newer\n");
  EXPECT_EQ(text_from(directory_ / "log", 12), "");
  EXPECT_EQ(text_from(directory_ / "none", 0), "");
}

TEST_F(RunFilesTest, LastLinesAreValidText) {
  std::ofstream(directory_ / "log") << "one\n\ntwo\n-----\nthr\xffree\n";
  EXPECT_EQ(last_lines(directory_ / "log", 2), "two\nthr\xEF\xBF\xBDree");
  EXPECT_EQ(last_lines(directory_ / "none", 2), "");
}

}  // namespace
}  // namespace tunefleet::agent

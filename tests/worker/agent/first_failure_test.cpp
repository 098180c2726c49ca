#include "worker/agent/first_failure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace tunefleet::agent {
namespace {

using testing::HasSubstr;

ExitReport ended(int rank, int64_t at_ms, int exit_code, int signal = 0, int64_t terminated = 0) {
  return {.rank = rank,
          .host = "host-a",
          .exit_code = exit_code,
          .signal = signal,
          .terminated_at_ms = terminated,
          .ended_at_ms = at_ms};
}

RankFiles files_of(std::vector<ExitReport> reports) {
  RankFiles files;
  for (auto& report : reports) {
    files.exec_pids[report.rank] = 100 + report.rank;
    files.exits[report.rank] = std::move(report);
  }
  return files;
}

TEST(FirstFailure, IsNothingWhenAllRanksEndedWell) {
  EXPECT_FALSE(first_failure(files_of({ended(0, 5, 0), ended(1, 6, 0)}), 2, "host-a", {}));
}

TEST(FirstFailure, IsTheRankThatEndedFirst) {
  const auto failure =
      first_failure(files_of({ended(0, 9, 3), ended(1, 5, 0, SIGSEGV)}), 2, "host-a", {});
  EXPECT_EQ(failure->rank, 1);
  EXPECT_EQ(failure->message, "killed by SIGSEGV");
  EXPECT_EQ(failure->host, "host-a");
}

TEST(FirstFailure, DoesNotBlameARankThatWasToldToStop) {
  const auto failure = first_failure(files_of({ended(0, 5, 0, SIGTERM, 4), ended(1, 6, 2)}), 2,
                                     "host-a", {.exit_code = 1});
  EXPECT_EQ(failure->rank, 1);
  EXPECT_EQ(failure->message, "exited with code 2");
  EXPECT_EQ(failure->code, "invalid_argument");
}

TEST(FirstFailure, PrefersTheRanksOwnWords) {
  RankFiles files = files_of({ended(0, 5, 2), ended(1, 6, 2)});
  files.errors[0] = {.code = "data_loss", .message = "tensor ends past the file: w"};
  const auto failure = first_failure(files, 2, "host-a", {});
  EXPECT_EQ(failure->code, "data_loss");
  EXPECT_EQ(failure->message, "tensor ends past the file: w");
}

TEST(FirstFailure, NamesTheSignal) {
  EXPECT_EQ(end_text(0, SIGKILL), "killed by SIGKILL (out of memory?)");
  EXPECT_EQ(end_text(0, SIGABRT), "killed by SIGABRT");
  EXPECT_EQ(end_text(143, 0), "stopped by SIGTERM");
}

TEST(FirstFailure, IsTheLaunchersWhenNoRankEverRan) {
  const auto failure = first_failure(
      {}, 2, "host-a", {.exit_code = 213, .by_itself = true, .last_output = "no slots"});
  EXPECT_EQ(failure->rank, -1);
  EXPECT_THAT(failure->message, HasSubstr("code 213"));
  EXPECT_THAT(failure->message, HasSubstr("no slots"));
}

TEST(FirstFailure, IsTheVanishedRankWhenNobodyElseFailed) {
  const auto failure = first_failure(files_of({ended(0, 5, 0)}), 2, "host-a",
                                     {.signal = SIGKILL, .vanished_rank = 1});
  EXPECT_EQ(failure->rank, 1);
}

}  // namespace
}  // namespace tunefleet::agent

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
    files.exec_ranks[report.rank] = {.pid = 100 + report.rank, .host = report.host};
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

TEST(FirstFailure, IsTheLostHostWhateverItsPeersSay) {
  RankFiles files = files_of({ended(0, 5, 3), ended(1, 6, 0, SIGTERM, 5)});
  files.exec_ranks[2] = {.pid = 7, .host = "host-b"};
  files.exec_ranks[3] = {.pid = 8, .host = "host-b"};
  const auto failure = first_failure(files, 4, "host-a", {.lost_host = "host-b"});
  EXPECT_EQ(failure->host, "host-b");
  EXPECT_EQ(failure->code, "unavailable");
  EXPECT_THAT(failure->message, HasSubstr("the host was lost with rank 2, 3"));
}

TEST(FirstFailure, IsTheAgentThatCouldNotRunItsPart) {
  RankFiles files = files_of({ended(0, 5, 0, SIGTERM, 4)});
  files.parts["host-c"] = {.ended = false, .message = "wants to leave"};
  files.parts["host-b"] = {.ended = true, .message = "no slots are kept"};
  const auto failure = first_failure(files, 3, "host-a", {.exit_code = 1, .by_itself = true});
  EXPECT_EQ(failure->rank, -1);
  EXPECT_EQ(failure->host, "host-b");
  EXPECT_EQ(failure->message, "no slots are kept");
}

TEST(FirstFailure, IsTheRankAndNotThePartThatEndedBecauseOfIt) {
  RankFiles files = files_of({ended(0, 5, 0, SIGTERM, 4), ended(1, 3, 0, SIGSEGV)});
  files.parts["host-b"] = {.ended = true, .message = "orted ended with code 1"};
  EXPECT_EQ(first_failure(files, 2, "host-a", {})->rank, 1);
}

// What Open MPI 4.1.4 prints when an orted was killed.
constexpr char kLostWords[] = R"(up
--------------------------------------------------------------------------
ORTE has lost communication with a remote daemon.

  HNP daemon   : [[21111,0],0] on node vm
  Remote daemon: [[21111,0],2] on node agent-10.0.0.7

This is usually due to either a failure of the TCP network
connection to the node, or possibly an internal failure of
)";

TEST(LostHost, IsReadFromWhatMpirunSays) {
  EXPECT_EQ(lost_host_in(kLostWords), "10.0.0.7");
  EXPECT_FALSE(lost_host_in("step 1\nRemote daemon on node agent-b\n"));
  EXPECT_FALSE(lost_host_in(""));
}

TEST(LostHost, WaitsForTheWholeLine) {
  const std::string words = kLostWords;
  EXPECT_FALSE(lost_host_in(words.substr(0, words.find("0.7\n") + 3)));
  EXPECT_FALSE(lost_host_in(words.substr(0, words.find("  Remote"))));
}

}  // namespace
}  // namespace tunefleet::agent

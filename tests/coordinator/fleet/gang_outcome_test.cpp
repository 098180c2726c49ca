#include "coordinator/fleet/gang_outcome.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

using testing::HasSubstr;

wire::RankFailure failure_of(int rank, const std::string& message) {
  wire::RankFailure failure;
  failure.set_rank(rank);
  failure.set_host("host-a");
  failure.set_code("unavailable");
  failure.set_message(message);
  return failure;
}

TEST(GangOutcome, FailuresReadAsSentences) {
  EXPECT_EQ(failure_sentence(failure_of(1, "killed by SIGKILL (out of memory?)")),
            "rank 1 on host-a was killed by SIGKILL (out of memory?)");
  EXPECT_EQ(failure_sentence(failure_of(0, "stopped by SIGTERM")),
            "rank 0 on host-a was stopped by SIGTERM");
  EXPECT_EQ(failure_sentence(failure_of(0, "exited with code 3")),
            "rank 0 on host-a exited with code 3");
  EXPECT_EQ(failure_sentence(failure_of(0, "empty data set: x")),
            "rank 0 on host-a failed: empty data set: x");
  EXPECT_EQ(failure_sentence(failure_of(-1, "no mpirun")), "host-a: no mpirun");
}

TEST(GangOutcome, SuccessKeepsTheResult) {
  wire::GangEnded ended;
  ended.set_succeeded(true);
  ended.set_result_json(R"({"step": 3})");
  const auto outcome = outcome_of(ended, false);
  EXPECT_EQ(outcome.phase, JobPhase::kSucceeded);
  EXPECT_EQ((*outcome.change.result)["step"], 3);
  EXPECT_FALSE(outcome.change.error);
}

TEST(GangOutcome, FailureNamesTheRank) {
  wire::GangEnded ended;
  *ended.mutable_failure() = failure_of(1, "killed by SIGKILL");
  ended.set_result_json("{torn");
  const auto outcome = outcome_of(ended, false);
  EXPECT_EQ(outcome.phase, JobPhase::kFailed);
  EXPECT_EQ(outcome.change.error->code, ErrorCode::kUnavailable);
  EXPECT_EQ(outcome.change.error->message, "rank 1 on host-a was killed by SIGKILL");
  EXPECT_EQ((*outcome.change.failure)["rank"], 1);
  EXPECT_EQ((*outcome.change.failure)["host"], "host-a");
  EXPECT_EQ(outcome.change.event_level, "error");
  EXPECT_FALSE(outcome.change.result);
}

TEST(GangOutcome, ACancelIsNeverLost) {
  wire::GangEnded ended;
  ended.set_succeeded(true);
  EXPECT_EQ(outcome_of(ended, true).phase, JobPhase::kCancelled);
  GangState gang{.id = {"j", 1}, .host = "host-a", .cancel_requested = true};
  EXPECT_EQ(outcome_of(GangNeed::kFailAgentLost, gang, {}).phase, JobPhase::kCancelled);
}

TEST(GangOutcome, ALostAgentIsNamed) {
  const GangState gang{.id = {"j", 1}, .host = "host-a"};
  const auto outcome = outcome_of(GangNeed::kFailAgentLost, gang, {});
  EXPECT_EQ(outcome.phase, JobPhase::kFailed);
  EXPECT_THAT(outcome.change.error->message, HasSubstr("agent lost"));
  EXPECT_THAT(outcome.change.error->message, HasSubstr("host-a"));
  EXPECT_EQ((*outcome.change.failure)["rank"], -1);
}

TEST(GangOutcome, ProgressIsValidJsonWhateverTheLoss) {
  wire::RankBeat beat;
  beat.set_step(4);
  beat.set_loss(std::numeric_limits<double>::quiet_NaN());
  beat.set_phase("training");
  const auto progress = progress_of(beat);
  EXPECT_EQ(progress["step"], 4);
  EXPECT_TRUE(progress["loss"].is_null());
}

}  // namespace
}  // namespace tunefleet::coordinator

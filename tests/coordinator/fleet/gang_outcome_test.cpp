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

constexpr int64_t kNow = 1'700'000'000'000;

JobRecord running_job(StopReason stop = StopReason::kNone) {
  return {.id = "j", .phase = JobPhase::kRunning, .attempt = 3, .stop = stop};
}

wire::GangEnded ended_with(const std::string& code, int rank, const std::string& message) {
  wire::GangEnded ended;
  *ended.mutable_failure() = failure_of(rank, message);
  ended.mutable_failure()->set_code(code);
  return ended;
}

GangOutcome outcome(const wire::GangEnded& ended, const JobRecord& job) {
  return outcome_of(ended, job, nullptr, {}, kNow);
}

TEST(GangOutcome, SuccessKeepsTheResult) {
  wire::GangEnded ended;
  ended.set_succeeded(true);
  ended.set_result_json(R"({"step": 3})");
  const auto after = outcome(ended, running_job());
  EXPECT_EQ(after.phase, JobPhase::kSucceeded);
  EXPECT_EQ((*after.change.result)["step"], 3);
  EXPECT_FALSE(after.change.error);
}

TEST(GangOutcome, AUsersMistakeFailsTheJobAndNamesTheRank) {
  auto ended = ended_with("invalid_argument", 1, "empty data set: x.jsonl");
  ended.set_result_json("{torn");
  const auto after = outcome(ended, running_job());
  EXPECT_EQ(after.phase, JobPhase::kFailed);
  EXPECT_EQ(after.change.error->code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(after.change.error->message, "rank 1 on host-a failed: empty data set: x.jsonl");
  EXPECT_EQ((*after.change.failure)["rank"], 1);
  EXPECT_EQ((*after.change.failure)["host"], "host-a");
  EXPECT_EQ((*after.change.failure)["class"], "user");
  EXPECT_EQ(after.change.event_level, "error");
  EXPECT_FALSE(after.change.result);
}

TEST(GangOutcome, AKilledRankIsTriedAgain) {
  const auto after = outcome(ended_with("unavailable", 1, "killed by SIGKILL"), running_job());
  EXPECT_EQ(after.phase, JobPhase::kQueued);
  EXPECT_EQ(after.change.failures->infrastructure, 1);
  EXPECT_EQ(*after.change.not_before_ms, kNow + 1'000);
  EXPECT_EQ(after.change.event_level, "warn");
  EXPECT_THAT(after.change.event_message,
              HasSubstr("Attempt 3 ended: rank 1 on host-a was killed by SIGKILL; trying again in "
                        "1 s"));
  EXPECT_FALSE(after.change.error);
}

TEST(GangOutcome, ACancelIsNeverLost) {
  wire::GangEnded ended;
  ended.set_succeeded(true);
  EXPECT_EQ(outcome(ended, running_job(StopReason::kCancel)).phase, JobPhase::kCancelled);
  const auto lost = failure_of_need(GangNeed::kFailAgentLost, "host-a", {});
  EXPECT_EQ(outcome_of(lost, running_job(StopReason::kCancel), {}, kNow).phase,
            JobPhase::kCancelled);
}

TEST(GangOutcome, AStopByASweepNamesIt) {
  JobRecord job = running_job(StopReason::kSweep);
  job.group = "ftsweep-a";
  const auto after = outcome(ended_with("cancelled", -1, "asked to stop: sweep"), job);
  EXPECT_EQ(after.phase, JobPhase::kCancelled);
  EXPECT_THAT(after.change.event_message, HasSubstr("stopped by sweep ftsweep-a"));
  const auto killed = outcome(ended_with("unavailable", 1, "killed by SIGKILL"), job);
  EXPECT_EQ(killed.phase, JobPhase::kCancelled) << "it is not tried again";
}

TEST(GangOutcome, AGangThatStoppedAsAskedGoesWhereItWasAskedTo) {
  const auto ended = ended_with("cancelled", -1, "asked to stop: pause");
  EXPECT_EQ(outcome(ended, running_job(StopReason::kPause)).phase, JobPhase::kPaused);
  EXPECT_EQ(outcome(ended, running_job(StopReason::kPreempt)).phase, JobPhase::kQueued);
  EXPECT_EQ(outcome(ended, running_job(StopReason::kResize)).phase, JobPhase::kQueued);
  EXPECT_FALSE(outcome(ended, running_job(StopReason::kPreempt)).change.failures)
      << "no failure is counted";
  wire::GangEnded done;
  done.set_succeeded(true);
  EXPECT_EQ(outcome(done, running_job(StopReason::kPause)).phase, JobPhase::kSucceeded)
      << "it came to its end first";
}

TEST(GangOutcome, AnAgentThatWasStoppedIsNoFaultOfTheJob) {
  const auto after = outcome(ended_with("cancelled", -1, "the agent was stopped"), running_job());
  EXPECT_EQ(after.phase, JobPhase::kQueued);
  EXPECT_EQ(after.change.failures->infrastructure, 1);
  EXPECT_TRUE(after.change.excluded_hosts->empty());
}

TEST(GangOutcome, ACondemnedGangFailsForTheReasonItWasCondemned) {
  const AttemptFailure hangs{
      .code = ErrorCode::kTimeout, .host = "host-b", .message = "rank 1 on host-b hangs"};
  const auto after =
      outcome_of(ended_with("cancelled", -1, "stopped"), running_job(), &hangs, {}, kNow);
  EXPECT_EQ(after.phase, JobPhase::kQueued);
  EXPECT_THAT(after.change.event_message, HasSubstr("rank 1 on host-b hangs"));
}

TEST(GangOutcome, ALostAgentIsNamedAndAvoided) {
  const auto lost = failure_of_need(GangNeed::kFailAgentLost, "host-a", {});
  const auto after = outcome_of(lost, running_job(), {}, kNow);
  EXPECT_EQ(after.phase, JobPhase::kQueued);
  EXPECT_THAT(after.change.event_message, HasSubstr("agent lost"));
  EXPECT_THAT(after.change.event_message, HasSubstr("host-a"));
  EXPECT_THAT(*after.change.excluded_hosts, testing::ElementsAre("host-a"));
  EXPECT_EQ((*after.change.failure)["rank"], -1);
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

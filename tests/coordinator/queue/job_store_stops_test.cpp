#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/queue/job_store_contract.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_P(JobStoreContract, AWaitingJobIsCancelledAtOnce) {
  submit("queued");
  submit("validating", 0, "ann", JobPhase::kValidatingFiles);
  for (const char* id : {"ftjob-queued", "ftjob-validating"}) {
    const auto job = cancel(id);
    ASSERT_TRUE(job) << job.error().message;
    EXPECT_EQ(job->phase, JobPhase::kCancelled);
    EXPECT_GT(job->finished_at_ms, 0);
  }
  EXPECT_THAT(*store_->queued(), IsEmpty());
}

TEST_P(JobStoreContract, ARunningJobIsMarkedAndItsCancelIsNotLost) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  ASSERT_TRUE(cancel("ftjob-one"));
  const auto again = cancel("ftjob-one");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->phase, JobPhase::kRunning);
  EXPECT_TRUE(again->cancel_requested());
  EXPECT_THAT(messages("ftjob-one"), SizeIs(3)) << "asked twice, told once";
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {})),
            ErrorCode::kConflict);
  EXPECT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kCancelled, {}));
}

TEST_P(JobStoreContract, AWaitingJobIsPausedAtOnceAndResumed) {
  submit("one");
  const auto paused = ask("ftjob-one", StopReason::kPause);
  ASSERT_TRUE(paused) << paused.error().message;
  EXPECT_EQ(paused->phase, JobPhase::kPaused);
  EXPECT_THAT(*store_->queued(), IsEmpty());
  ASSERT_TRUE(ask("ftjob-one", StopReason::kPause));
  const auto resumed = store_->resume("ftjob-one");
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_EQ(resumed->phase, JobPhase::kQueued);
  EXPECT_EQ(resumed->stop, StopReason::kNone);
  EXPECT_THAT(ids(*store_->queued()), ElementsAre("ftjob-one"));
  ASSERT_TRUE(store_->resume("ftjob-one")) << "nothing to resume is no error";
  EXPECT_THAT(messages("ftjob-one"),
              ElementsAre("Created fine-tuning job: ftjob-one", "The job is paused",
                          "The job was resumed and is queued"));
}

TEST_P(JobStoreContract, ARunningJobIsPausedWhenItsGangHasStopped) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  const auto asked = ask("ftjob-one", StopReason::kPause);
  ASSERT_TRUE(asked) << asked.error().message;
  EXPECT_EQ(asked->phase, JobPhase::kRunning);
  EXPECT_EQ(asked->stop, StopReason::kPause);
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {})),
            ErrorCode::kConflict)
      << "a pause is not lost to a retry";
  const auto paused = store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kPaused, {});
  ASSERT_TRUE(paused) << paused.error().message;
  EXPECT_EQ(paused->stop, StopReason::kNone);
  EXPECT_THAT(*store_->running(), IsEmpty());
  ASSERT_TRUE(cancel("ftjob-one"));
  EXPECT_EQ(store_->get("ftjob-one")->phase, JobPhase::kCancelled);
}

TEST_P(JobStoreContract, AStrongerReasonToStopReplacesAWeakerOneOnly) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  EXPECT_EQ(ask("ftjob-one", StopReason::kPreempt)->stop, StopReason::kPreempt);
  EXPECT_EQ(ask("ftjob-one", StopReason::kResize)->stop, StopReason::kPreempt);
  EXPECT_EQ(ask("ftjob-one", StopReason::kPause)->stop, StopReason::kPause);
  EXPECT_EQ(store_->resume("ftjob-one")->stop, StopReason::kPreempt);
  EXPECT_EQ(cancel("ftjob-one")->stop, StopReason::kCancel);
  EXPECT_EQ(ask("ftjob-one", StopReason::kPause)->stop, StopReason::kCancel);
  EXPECT_EQ(code_of(store_->resume("ftjob-one")), ErrorCode::kConflict);
  EXPECT_THAT(messages("ftjob-one"), SizeIs(6));
}

TEST_P(JobStoreContract, AStopByASweepIsKeptApartFromAUsersCancel) {
  submit("one");
  submit("two");
  ASSERT_TRUE(start("ftjob-one"));
  EXPECT_EQ(ask("ftjob-one", StopReason::kPause)->stop, StopReason::kPause);
  const auto stopping = ask("ftjob-one", StopReason::kSweep);
  EXPECT_EQ(stopping->stop, StopReason::kSweep);
  EXPECT_TRUE(stopping->cancel_requested());
  EXPECT_EQ(code_of(store_->resume("ftjob-one")), ErrorCode::kConflict);
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {})),
            ErrorCode::kConflict);
  ASSERT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kCancelled, {}));
  EXPECT_EQ(store_->get("ftjob-one")->stop, StopReason::kSweep);
  EXPECT_EQ(ask("ftjob-two", StopReason::kSweep)->phase, JobPhase::kCancelled);
  EXPECT_EQ(store_->get("ftjob-two")->stop, StopReason::kSweep);
}

TEST_P(JobStoreContract, OnlyARunningJobIsPreemptedAndOnlyAnUnfinishedOneStopped) {
  submit("one");
  submit("unchecked", 0, "ann", JobPhase::kValidatingFiles);
  EXPECT_EQ(code_of(ask("ftjob-one", StopReason::kPreempt)), ErrorCode::kConflict);
  EXPECT_EQ(code_of(ask("ftjob-unchecked", StopReason::kPause)), ErrorCode::kConflict);
  ASSERT_TRUE(cancel("ftjob-one"));
  for (const auto reason : {StopReason::kPreempt, StopReason::kPause, StopReason::kCancel}) {
    EXPECT_EQ(code_of(ask("ftjob-one", reason)), ErrorCode::kConflict);
  }
  EXPECT_EQ(code_of(store_->resume("ftjob-one")), ErrorCode::kConflict);
}

}  // namespace
}  // namespace tunefleet::coordinator

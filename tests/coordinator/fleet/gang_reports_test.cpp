#include <gmock/gmock.h>

#include "tests/coordinator/fleet/reconciler_fixture.h"

namespace tunefleet::coordinator {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using GangReportsTest = FleetReconcilerTest;

TEST_F(GangReportsTest, SuccessIsStoredThenAcknowledgedAndTheNextJobStarts) {
  submit("a");
  submit("b");
  beat();
  tick();
  pass(1, true, {{"a", 1}});
  sent_.clear();
  gang_ended({"a", 1}, true);
  EXPECT_EQ(phase("a"), JobPhase::kSucceeded);
  EXPECT_TRUE(reconciler_->wants_tick());
  beat();
  tick();
  EXPECT_EQ(phase("b"), JobPhase::kRunning);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(1));
}

TEST_F(GangReportsTest, AFailureReachesTheJobWithRankAndHost) {
  submit("j");
  beat();
  tick();
  gang_ended({"j", 1}, false, "no such file: x.jsonl", "not_found");
  const auto job = *store_.get("j");
  EXPECT_EQ(job.phase, JobPhase::kFailed);
  EXPECT_EQ(job.error->message, "rank 1 on host-a failed: no such file: x.jsonl");
  EXPECT_EQ(job.failure["rank"], 1);
}

TEST_F(GangReportsTest, AKilledRankIsTriedAgainAfterAPause) {
  submit("j");
  beat();
  tick();
  gang_ended({"j", 1}, false, "killed by SIGKILL (out of memory?)");
  EXPECT_EQ(phase("j"), JobPhase::kQueued);
  beat();
  tick();
  EXPECT_EQ(phase("j"), JobPhase::kQueued) << "not at once";
  EXPECT_THAT(reconciler_->positions()->at("j").reason, HasSubstr("again"));
  pass(3);
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_EQ(store_.get("j")->attempt, 2);
}

TEST_F(GangReportsTest, AnEndIsNotLostWhileTheStoreIsAway) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  sent_.clear();
  store_.away = true;
  gang_ended({"j", 1}, true);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), IsEmpty());
  for (int i = 0; i < 20; ++i) {
    pass(1);
    gang_ended({"j", 1}, true);  // As the agent does each second.
  }
  EXPECT_THAT(take_sent(wire::Envelope::kAck), IsEmpty());
  store_.away = false;
  pass(1);
  EXPECT_EQ(phase("j"), JobPhase::kRunning) << "given up on nothing meanwhile";
  gang_ended({"j", 1}, true);
  EXPECT_EQ(phase("j"), JobPhase::kSucceeded);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(1));
}

TEST_F(GangReportsTest, ALateEndChangesNothingAndIsAcknowledged) {
  submit("j");
  beat();
  tick();
  gang_ended({"j", 1}, true);
  gang_ended({"j", 1}, false, "killed by SIGKILL");
  gang_ended({"unknown", 1}, true);
  EXPECT_EQ(phase("j"), JobPhase::kSucceeded);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(3));
}

TEST_F(GangReportsTest, ARunningJobIsCancelledWhenItsGangHasStopped) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  ASSERT_TRUE(store_.request_stop("j", StopReason::kCancel, "", 0));
  reconciler_->look_again();
  tick();
  const auto stops = take_sent(wire::Envelope::kStopGang);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_EQ(stops[0].stop_gang().grace_ms(), 10'000U);
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  gang_ended({"j", 1}, false, "asked to stop", "cancelled");
  EXPECT_EQ(phase("j"), JobPhase::kCancelled);
}

TEST_F(GangReportsTest, AGangThatHangsIsStoppedAndTriedAgain) {
  submit("j");
  beat();
  tick();
  for (int step = 1; step <= 20; ++step) {
    rank_beat(0, step);
    rank_beat(1, step);
    pass(1, true, {{"j", 1}});
  }
  sent_.clear();
  for (int i = 0; i < 13; ++i) {
    rank_beat(0, 20);  // Rank 1 stands still, and rank 0 waits for it.
    pass(1, true, {{"j", 1}});
  }
  EXPECT_FALSE(take_sent(wire::Envelope::kStopGang).empty());
  gang_ended({"j", 1}, false, "asked to stop", "cancelled");
  EXPECT_EQ(phase("j"), JobPhase::kQueued);
  EXPECT_THAT(store_.events_before("j", 0, 1)->events[0].message,
              HasSubstr("rank 1 on host-a hangs"));
}

TEST_F(GangReportsTest, ProgressAndEventsOfRankZeroAreStored) {
  submit("j");
  beat();
  tick();
  wire::Envelope rank_beat;
  rank_beat.mutable_rank_beat()->set_job("j");
  rank_beat.mutable_rank_beat()->set_attempt(1);
  rank_beat.mutable_rank_beat()->set_step(12);
  message(rank_beat, "rank-0");
  rank_beat.mutable_rank_beat()->set_attempt(0);
  rank_beat.mutable_rank_beat()->set_step(99);
  message(rank_beat, "rank-0");
  pass(1, true, {{"j", 1}});
  EXPECT_EQ(store_.get("j")->progress["step"], 12);

  sent_.clear();
  wire::Envelope event;
  event.mutable_rank_event()->set_job("j");
  event.mutable_rank_event()->set_attempt(1);
  event.mutable_rank_event()->set_number(1);
  event.mutable_rank_event()->set_level("info");
  event.mutable_rank_event()->set_type("metrics");
  event.mutable_rank_event()->set_message("Step 12");
  event.mutable_rank_event()->set_data_json(R"({"step": 12})");
  store_.away = true;
  message(event, "rank-0");
  EXPECT_THAT(take_sent(wire::Envelope::kAck), IsEmpty());
  store_.away = false;
  message(event, "rank-0");
  message(event, "rank-0");
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(2));
  const auto page = store_.events_before("j", 0, 1);
  EXPECT_EQ(page->events[0].message, "Step 12");
  EXPECT_EQ(page->events[0].data["step"], 12);
  EXPECT_EQ(page->events[0].number, 3) << "created, started, step: the repeat was dropped";
}

}  // namespace
}  // namespace tunefleet::coordinator

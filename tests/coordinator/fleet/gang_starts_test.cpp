#include <gmock/gmock.h>

#include "tests/coordinator/fleet/reconciler_fixture.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using GangStartsTest = FleetReconcilerTest;

TEST_F(GangStartsTest, AJobStartsOnTheAgentWithItsRunDirectoryReady) {
  submit("j");
  beat();
  tick();
  const auto starts = take_sent(wire::Envelope::kStartGang);
  ASSERT_THAT(starts, SizeIs(1));
  const auto& start = starts[0].start_gang();
  EXPECT_EQ(start.job(), "j");
  EXPECT_EQ(start.attempt(), 1U);
  EXPECT_EQ(start.ranks(), 2U);
  EXPECT_EQ(start.run_directory(), (directory_ / "j").string());
  EXPECT_EQ(start.rank_endpoint(), "tcp://127.0.0.1:1");
  EXPECT_TRUE(std::filesystem::exists(directory_ / "j/job.json"));
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_EQ(store_.get("j")->lead_host(), "host-a");
  EXPECT_THAT(reconciler_->agents()[0].jobs, ElementsAre("j"));
}

TEST_F(GangStartsTest, WaitingJobsAreToldWhy) {
  submit("wide", 4);
  tick();
  EXPECT_EQ(reconciler_->positions()->at("wide").reason, "no agent is connected");
  submit("a");
  submit("b");
  beat();
  tick();
  EXPECT_EQ(phase("a"), JobPhase::kRunning);
  EXPECT_THAT(reconciler_->positions()->at("wide").reason,
              HasSubstr("needs 4 slots, the fleet has 2"));
  EXPECT_EQ(reconciler_->positions()->at("b").position, 2);
  EXPECT_EQ(reconciler_->positions()->at("b").reason, "waiting for 2 slots (0 free of 2)");
}

TEST_F(GangStartsTest, WhatWasPlannedOnCanBePlannedOnAgain) {
  EXPECT_EQ(reconciler_->planned(), nullptr);
  submit("j");
  beat();
  tick();
  reconciler_->look_again();
  pass(1, true, {{"j", 1}});
  const auto planned = reconciler_->planned();
  ASSERT_NE(planned, nullptr);
  const WaitingJob wide{.id = "new", .min_workers = 2, .max_workers = 2};
  const auto preview = preview_start(*planned, wide);
  EXPECT_TRUE(preview.known);
  EXPECT_EQ(preview.position, 1);
  EXPECT_THAT(preview.reason, HasSubstr("0 free of 2"));
}

TEST_F(GangStartsTest, StartIsSentAgainUntilTheBeatsListTheGang) {
  submit("j");
  beat();
  tick();
  pass(3);
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), SizeIs(4));
  pass(3, true, {{"j", 1}});
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), IsEmpty());
}

TEST_F(GangStartsTest, AGangOverTwoAgentsStartsWhenBothKeepItsSlots) {
  submit("wide", 4);
  beat();
  beat({}, "peer-b", "host-b");
  tick();
  EXPECT_EQ(phase("wide"), JobPhase::kQueued);
  EXPECT_THAT(take_sent(wire::Envelope::kReserveSlots), SizeIs(2));
  beat({{"wide", 1}}, "peer-a", "host-a", wire::GANG_RESERVED);
  tick();
  EXPECT_EQ(phase("wide"), JobPhase::kQueued) << "one is not enough";
  beat({{"wide", 1}}, "peer-b", "host-b", wire::GANG_RESERVED);
  tick();
  const auto job = *store_.get("wide");
  ASSERT_EQ(job.phase, JobPhase::kRunning);
  EXPECT_EQ(job.placement.size(), 2U);
  const auto starts = take_sent(wire::Envelope::kStartGang);
  ASSERT_THAT(starts, SizeIs(1));
  EXPECT_EQ(starts[0].start_gang().parts_size(), 2);
  EXPECT_EQ(starts[0].start_gang().ranks(), 4U);
}

TEST_F(GangStartsTest, AGangThatOneAgentRefusesHoldsNoSlots) {
  submit("wide", 4);
  beat();
  beat({}, "peer-b", "host-b");
  tick();
  wire::Envelope refusal;
  refusal.mutable_reservation_refused()->set_job("wide");
  refusal.mutable_reservation_refused()->set_attempt(1);
  refusal.mutable_reservation_refused()->set_host("host-b");
  refusal.mutable_reservation_refused()->set_reason("1 slot is free, 2 are needed");
  message(refusal, "peer-b");
  sent_.clear();
  tick();
  EXPECT_THAT(take_sent(wire::Envelope::kReleaseSlots), SizeIs(2));
  EXPECT_EQ(phase("wide"), JobPhase::kQueued);
}

TEST_F(GangStartsTest, ARunDirectoryThatCannotBeMadeFailsTheJob) {
  submit("bad id");
  beat();
  tick();
  EXPECT_EQ(phase("bad id"), JobPhase::kFailed);
  EXPECT_THAT(store_.get("bad id")->error->message, HasSubstr("not a job id"));
}

TEST_F(GangStartsTest, AnotherWireVersionIsRejected) {
  wire::Envelope envelope;
  envelope.set_version(kWireVersion + 1);
  envelope.mutable_agent_beat()->set_host("host-z");
  reconciler_->on_message("peer-z", envelope, now_ms_);
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_EQ(sent_[0].second.rejected().code(), "invalid_argument");
  EXPECT_THAT(reconciler_->agents(), IsEmpty());
}

}  // namespace
}  // namespace tunefleet::coordinator

#include <gmock/gmock.h>

#include "tests/coordinator/fleet/reconciler_fixture.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using GangWatchTest = FleetReconcilerTest;

TEST_F(GangWatchTest, AJobOfASilentAgentGoesOnElsewhereAfterTheGrace) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  for (int i = 0; i < 8; ++i) {
    pass(1, false);
    beat({}, "peer-b", "host-b");
  }
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_FALSE(reconciler_->agents()[0].alive);
  for (int i = 0; i < 5; ++i) {
    beat({}, "peer-b", "host-b");
    pass(1, false);
  }
  const auto job = *store_.get("j");
  EXPECT_EQ(job.phase, JobPhase::kRunning);
  EXPECT_EQ(job.attempt, 2);
  EXPECT_EQ(job.lead_host(), "host-b");
  EXPECT_THAT(job.excluded_hosts, ElementsAre("host-a"));
}

TEST_F(GangWatchTest, ACoordinatorThatWasReplacedStepsDown) {
  ASSERT_TRUE(store_.lead("elsewhere", "p", 60'000));
  submit("j");
  reconciler_ = std::make_unique<FleetReconciler>(
      store_,
      ReconcilerOptions{
          .jobs_directory = directory_,
          .prepare =
              [this](const JobRecord& job) { return prepare_run_directory(directory_, job); },
          .leader = 7,
          .unix_ms = [this] { return store_.now_ms; }},
      [this](const std::string& peer, wire::Envelope envelope) {
        sent_.emplace_back(peer, std::move(envelope));
      });
  beat();
  tick();
  EXPECT_TRUE(reconciler_->outlived(7));
  EXPECT_EQ(phase("j"), JobPhase::kQueued);
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), IsEmpty());
}

TEST_F(GangWatchTest, AnAgentThatComesBackInTimeKeepsItsJob) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  pass(25, false);
  beat({{"j", 1}}, "peer-new");
  pass(60, true, {{"j", 1}});
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
}

TEST_F(GangWatchTest, AGangThatIsNoLongerThereIsTriedAgain) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  pass(12);
  EXPECT_EQ(store_.get("j")->attempt, 2);
  EXPECT_THAT(store_.events_after("j", 2, 1)->events[0].message,
              HasSubstr("no longer runs the job"));
}

TEST_F(GangWatchTest, ARestartedCoordinatorAdoptsRunningJobs) {
  submit("j");
  beat();
  tick();
  restart();
  sent_.clear();
  tick();
  pass(30, true, {{"j", 1}});
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_THAT(sent_, IsEmpty()) << "nothing is started twice, nothing is stopped";
  gang_ended({"j", 1}, true);
  EXPECT_EQ(phase("j"), JobPhase::kSucceeded);
}

TEST_F(GangWatchTest, OneThatHasTakenOverHearsOfProgressAndOfAHang) {
  submit("j");
  beat();
  tick();
  restart();
  for (int step = 20; step <= 30; ++step) {
    rank_beat(0, step);
    rank_beat(1, step);
    pass(1, true, {{"j", 1}});
  }
  EXPECT_EQ(store_.get("j")->progress.at("step"), 30);
  sent_.clear();
  for (int i = 0; i < 13; ++i) {
    rank_beat(0, 30);
    pass(1, true, {{"j", 1}});
  }
  EXPECT_FALSE(take_sent(wire::Envelope::kStopGang).empty());
  EXPECT_EQ(store_.get("j")->attempt, 1);
}

TEST_F(GangWatchTest, AStartThatWasStoredButNotSentIsMadeUpFor) {
  submit("j");
  ASSERT_TRUE(store_.transition("j", 0, JobPhase::kQueued, JobPhase::kRunning,
                                {.placement = Placement{{.host = "host-a", .ranks = 2}}}));
  tick();
  beat();
  tick();
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), SizeIs(1));
}

TEST_F(GangWatchTest, AGangOfAnOlderAttemptIsStopped) {
  beat({{"gone", 3}});
  tick();
  const auto stops = take_sent(wire::Envelope::kStopGang);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_EQ(stops[0].stop_gang().job(), "gone");
  EXPECT_EQ(stops[0].stop_gang().attempt(), 3U);
}

TEST_F(GangWatchTest, NoGangIsAStrangerBeforeTheStoreHasAnswered) {
  store_.away = true;
  beat({{"j", 1}});
  pass(5, true, {{"j", 1}});
  EXPECT_THAT(take_sent(wire::Envelope::kStopGang), IsEmpty());
}

}  // namespace
}  // namespace tunefleet::coordinator

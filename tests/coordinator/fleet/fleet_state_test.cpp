#include "coordinator/fleet/fleet_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

wire::AgentBeat beat_of(const std::string& host, uint32_t slots, std::vector<GangId> gangs = {}) {
  wire::AgentBeat beat;
  beat.set_host(host);
  beat.set_slots(slots);
  for (const auto& id : gangs) {
    beat.add_gangs()->set_job(id.job);
    beat.mutable_gangs(beat.gangs_size() - 1)->set_attempt(static_cast<uint64_t>(id.attempt));
  }
  return beat;
}

JobRecord running_job(const std::string& id, const std::string& host, int64_t attempt = 1) {
  return {.id = id, .phase = JobPhase::kRunning, .attempt = attempt, .workers = 2, .agent = host};
}

TEST(FleetState, ABeatIsNewsWhenThePlanMayChange) {
  FleetState state;
  EXPECT_TRUE(take_beat(state, "p1", beat_of("a", 2), 0));
  EXPECT_FALSE(take_beat(state, "p1", beat_of("a", 2), 1000));
  EXPECT_TRUE(take_beat(state, "p1", beat_of("a", 4), 2000));
  EXPECT_FALSE(take_beat(state, "p2", beat_of("a", 4), 3000)) << "a new connection alone is none";
  EXPECT_EQ(state.agents.at("a").peer, "p2");
}

TEST(FleetState, AnAgentIsDeadAfterThreeSecondsAndAliveWithItsNextBeat) {
  FleetState state;
  const FleetTimes times;
  take_beat(state, "p", beat_of("a", 2), 1000);
  EXPECT_THAT(find_dead_agents(state, times, 4000, 0), IsEmpty());
  EXPECT_THAT(find_dead_agents(state, times, 4001, 0), ElementsAre("a"));
  EXPECT_THAT(find_dead_agents(state, times, 5000, 0), IsEmpty()) << "told once";
  EXPECT_TRUE(take_beat(state, "p", beat_of("a", 2), 6000));
}

TEST(FleetState, ACoordinatorThatStoodStillBlamesNoAgent) {
  FleetState state;
  take_beat(state, "p", beat_of("a", 2), 1000);
  EXPECT_THAT(find_dead_agents(state, {}, 9000, 7000), IsEmpty());
}

TEST(FleetState, SlotsOfRunningGangsAreNotOffered) {
  FleetState state;
  take_beat(state, "p", beat_of("a", 3), 0);
  take_running(state, {running_job("j", "a")}, 0);
  const auto offers = offered_slots(state);
  ASSERT_THAT(offers, SizeIs(1));
  EXPECT_EQ(offers[0].slots, 3);
  EXPECT_EQ(offers[0].free_slots, 1);
  EXPECT_THAT(agent_views(state)[0].jobs, ElementsAre("j"));
}

TEST(FleetState, StrangersBlockAnAgentUntilTheyAreGone) {
  FleetState state;
  take_beat(state, "p", beat_of("a", 3, {{"old", 1}}), 0);
  EXPECT_THAT(strangers_on(state, state.agents.at("a")), ElementsAre(GangId{"old", 1}));
  EXPECT_EQ(offered_slots(state)[0].free_slots, 0);
  take_running(state, {running_job("old", "a", 2)}, 0);
  EXPECT_THAT(strangers_on(state, state.agents.at("a")), SizeIs(1)) << "an older attempt";
  take_running(state, {running_job("old", "a", 1)}, 0);
  EXPECT_THAT(strangers_on(state, state.agents.at("a")), IsEmpty());
}

TEST(FleetState, ARestartedCoordinatorAdoptsWhatRuns) {
  FleetState state;
  take_running(state, {running_job("j", "a")}, 5000);
  EXPECT_FALSE(state.gangs.at("j").listed);
  take_beat(state, "p", beat_of("a", 2, {{"j", 1}}), 6000);
  EXPECT_TRUE(state.gangs.at("j").listed);
  EXPECT_EQ(need_of(state.gangs.at("j"), &state.agents.at("a"), {}, 6000), GangNeed::kNothing);
  take_running(state, {}, 7000);
  EXPECT_TRUE(state.gangs.empty());
}

/// A gang on host a whose agent is alive.
class NeedTest : public testing::Test {
 protected:
  NeedTest() { agent_.alive = true; }
  GangNeed need(int64_t now_ms) { return need_of(gang_, &agent_, times_, now_ms); }

  FleetTimes times_;
  AgentState agent_{.host = "a"};
  GangState gang_{.id = {"j", 1}, .host = "a", .known_since_ms = 1000};
};

TEST_F(NeedTest, StartIsSentAgainUntilTheGangIsListed) {
  EXPECT_EQ(need(1000), GangNeed::kStart);
  gang_.start_sent_ms = gang_.first_start_ms = 1000;
  EXPECT_EQ(need(1999), GangNeed::kNothing);
  EXPECT_EQ(need(2000), GangNeed::kStart);
  gang_.start_sent_ms = 15'900;
  EXPECT_EQ(need(16'001), GangNeed::kFailNotStarted);
  gang_.listed = gang_.was_listed = true;
  EXPECT_EQ(need(16'001), GangNeed::kNothing);
}

TEST_F(NeedTest, AGangThatIsNoLongerListedIsGivenUpAfterFiveSeconds) {
  gang_.was_listed = true;
  gang_.missing_since_ms = 10'000;
  gang_.start_sent_ms = gang_.first_start_ms = 1000;
  EXPECT_EQ(need(12'000), GangNeed::kStart) << "the agent answers with how it ended";
  EXPECT_EQ(need(15'001), GangNeed::kFailMissing);
  gang_.end_heard_ms = 15'000;
  EXPECT_EQ(need(15'001), GangNeed::kNothing) << "its end was heard and waits for the store";
}

TEST_F(NeedTest, ACancelIsSentAgainUntilTheGangHasEnded) {
  gang_.cancel_requested = gang_.listed = gang_.was_listed = true;
  EXPECT_EQ(need(2000), GangNeed::kStop);
  gang_.stop_sent_ms = 2000;
  EXPECT_EQ(need(3000), GangNeed::kNothing);
  EXPECT_EQ(need(4000), GangNeed::kStop);
}

TEST_F(NeedTest, ASilentAgentsGangHasAGrace) {
  agent_.alive = false;
  agent_.last_beat_ms = 10'000;
  gang_.listed = gang_.was_listed = true;
  EXPECT_EQ(need(43'000), GangNeed::kNothing);
  EXPECT_EQ(need(43'001), GangNeed::kFailAgentLost);
}

TEST_F(NeedTest, AnAgentNotHeardOfSinceARestartHasALongerOne) {
  EXPECT_EQ(need_of(gang_, nullptr, times_, 61'000), GangNeed::kNothing);
  EXPECT_EQ(need_of(gang_, nullptr, times_, 61'001), GangNeed::kFailAgentLost);
}

}  // namespace
}  // namespace tunefleet::coordinator

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
  return {.id = id,
          .phase = JobPhase::kRunning,
          .attempt = attempt,
          .workers = 2,
          .placement = {{.host = host, .ranks = 2}}};
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
  EXPECT_THAT(strangers_on(state, state.agents.at("a")),
              ElementsAre(testing::Key(GangId{"old", 1})));
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
  EXPECT_EQ(need_of(state.gangs.at("j"), state, {}, 6000), GangNeed::kNothing);
  take_running(state, {}, 7000);
  EXPECT_TRUE(state.gangs.empty());
}

/// A gang on host a whose agent is alive.
class NeedTest : public testing::Test {
 protected:
  NeedTest() { state_.agents["a"] = {.host = "a", .slots = 2, .alive = true}; }
  GangNeed need(int64_t now_ms) { return need_of(gang_, state_, times_, now_ms); }

  FleetTimes times_;
  FleetState state_;
  AgentState& agent_ = state_.agents["a"];
  GangState gang_{.id = {"j", 1}, .placement = {{.host = "a", .ranks = 2}}, .known_since_ms = 1000};
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
  gang_.stop = StopReason::kCancel;
  gang_.listed = gang_.was_listed = true;
  EXPECT_EQ(need(2000), GangNeed::kStop);
  gang_.stop_sent_ms = 2000;
  EXPECT_EQ(need(3000), GangNeed::kNothing);
  EXPECT_EQ(need(4000), GangNeed::kStop);
}

TEST_F(NeedTest, ASilentAgentsGangGoesOnElsewhereSoonWhereThereIsAnElsewhere) {
  agent_.alive = false;
  agent_.last_beat_ms = 10'000;
  gang_.listed = gang_.was_listed = true;
  EXPECT_EQ(need(60'000), GangNeed::kNothing) << "only this agent could run it";
  EXPECT_EQ(need(613'001), GangNeed::kFailAgentLost);
  state_.agents["b"] = {.host = "b", .slots = 2, .alive = true};
  EXPECT_EQ(need(19'000), GangNeed::kNothing) << "a hiccup of the network";
  EXPECT_EQ(need(19'001), GangNeed::kFailAgentLost);
  EXPECT_EQ(silent_host(gang_, state_), "a");
}

TEST_F(NeedTest, AnAgentNotHeardOfSinceARestartHasALongerOne) {
  state_.agents.erase("a");
  EXPECT_EQ(need(61'000), GangNeed::kNothing);
  EXPECT_EQ(need(61'001), GangNeed::kFailAgentLost);
}

TEST_F(NeedTest, EveryAgentOfAGangCounts) {
  gang_.placement.push_back({.host = "b", .ranks = 1});
  gang_.listed = gang_.was_listed = true;
  state_.agents["b"] = {.host = "b", .slots = 1, .alive = true};
  EXPECT_EQ(need(2000), GangNeed::kNothing);
  state_.agents["b"] = {.host = "b", .slots = 1, .alive = false, .last_beat_ms = 2000};
  state_.agents["c"] = {.host = "c", .slots = 4, .alive = true};
  EXPECT_EQ(need(11'001), GangNeed::kFailAgentLost);
  EXPECT_EQ(silent_host(gang_, state_), "b");
}

TEST(FleetState, KeptSlotsAreNotOfferedAndNoStrangers) {
  FleetState state;
  auto beat = beat_of("a", 3, {{"j", 2}});
  beat.mutable_gangs(0)->set_role(wire::GANG_RESERVED);
  state.reservations["j"] = {.id = {"j", 2},
                             .placement = {{.host = "a", .ranks = 2}, {.host = "b", .ranks = 1}}};
  take_beat(state, "p", beat, 0);
  EXPECT_EQ(offered_slots(state)[0].free_slots, 1);
  EXPECT_THAT(strangers_on(state, state.agents.at("a")), IsEmpty());
  EXPECT_THAT(state.reservations["j"].granted, ElementsAre("a"));
  EXPECT_FALSE(state.reservations["j"].complete());
  take_beat(state, "p", beat_of("a", 3), 1000);
  EXPECT_THAT(state.reservations["j"].granted, IsEmpty()) << "the agent has let go of them";
}

}  // namespace
}  // namespace tunefleet::coordinator

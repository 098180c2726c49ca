#include "coordinator/fleet/exec_relay.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

wire::Envelope beat(const std::string& host) {
  wire::Envelope envelope;
  envelope.mutable_agent_beat()->set_host(host);
  return envelope;
}

wire::Envelope request(const std::string& id, const std::string& host) {
  wire::Envelope envelope;
  envelope.mutable_exec_request()->set_id(id);
  envelope.mutable_exec_request()->set_host(host);
  envelope.mutable_exec_request()->set_command("orted -mca ess \"env\"");
  return envelope;
}

wire::Envelope status(const std::string& id, const std::string& host) {
  wire::Envelope envelope;
  envelope.mutable_exec_status()->set_id(id);
  envelope.mutable_exec_status()->set_host(host);
  envelope.mutable_exec_status()->set_phase(wire::EXEC_RUNNING);
  return envelope;
}

class ExecRelayTest : public testing::Test {
 protected:
  ExecRelayTest() {
    relay_.on_message("peer-a", beat("a"), 0);
    relay_.on_message("peer-b", beat("b"), 0);
  }
  ExecRelay relay_;
};

TEST_F(ExecRelayTest, PassesARequestToTheAgentAndItsAnswerBack) {
  const auto asked = relay_.on_message("exec-on", request("1", "b"), 10);
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->peer, "peer-b");
  EXPECT_EQ(asked->envelope.exec_request().command(), "orted -mca ess \"env\"");
  const auto answered = relay_.on_message("peer-b", status("1", "b"), 20);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->peer, "exec-on");
  EXPECT_EQ(answered->envelope.exec_status().phase(), wire::EXEC_RUNNING);
}

TEST_F(ExecRelayTest, WaitsForAnAgentThatIsNotHereYet) {
  EXPECT_FALSE(relay_.on_message("exec-on", request("1", "c"), 10));
  relay_.on_message("peer-c", beat("c"), 20);
  const auto asked = relay_.on_message("exec-on", request("1", "c"), 30);
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->peer, "peer-c");
}

TEST_F(ExecRelayTest, FollowsAReconnect) {
  relay_.on_message("exec-on", request("1", "b"), 10);
  relay_.on_message("peer-b2", beat("b"), 20);
  EXPECT_FALSE(relay_.on_message("peer-b", status("1", "b"), 30)) << "an older connection";
  EXPECT_EQ(relay_.on_message("exec-on2", request("1", "b"), 40)->peer, "peer-b2");
  EXPECT_EQ(relay_.on_message("peer-b2", status("1", "b"), 50)->peer, "exec-on2");
}

TEST_F(ExecRelayTest, PassesNoAnswerOfAnotherAgent) {
  relay_.on_message("exec-on", request("1", "b"), 10);
  EXPECT_FALSE(relay_.on_message("peer-a", status("1", "b"), 20)) << "not its name";
  EXPECT_FALSE(relay_.on_message("peer-a", status("1", "a"), 20)) << "not asked";
  EXPECT_FALSE(relay_.on_message("peer-b", status("2", "b"), 20)) << "nobody asked so";
}

TEST_F(ExecRelayTest, ForgetsWhoIsSilent) {
  relay_.on_message("exec-on", request("1", "b"), 0);
  relay_.on_message("exec-on2", request("2", "b"), 25'000);
  EXPECT_EQ(relay_.askers(), 2U);
  relay_.on_message("exec-on3", request("3", "b"), 31'000);
  EXPECT_EQ(relay_.askers(), 2U);
  EXPECT_FALSE(relay_.on_message("peer-b", status("1", "b"), 31'000));
}

TEST_F(ExecRelayTest, RefusesIdsThatAreNone) {
  EXPECT_FALSE(relay_.on_message("exec-on", request("", "b"), 0));
  EXPECT_FALSE(relay_.on_message("exec-on", request(std::string(65, 'x'), "b"), 0));
  EXPECT_EQ(relay_.askers(), 0U);
}

TEST_F(ExecRelayTest, LeavesOtherMessagesAlone) {
  wire::Envelope envelope;
  envelope.mutable_gang_ended()->set_job("j");
  EXPECT_FALSE(relay_.on_message("peer-a", envelope, 0));
}

}  // namespace
}  // namespace tunefleet::coordinator

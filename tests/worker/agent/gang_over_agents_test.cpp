#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <memory>

#include "tests/worker/agent/agent_process.h"
#include "tests/worker/agent/relaying_coordinator.h"
#include "worker/agent/run_files.h"

namespace tunefleet::agent {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using Clock = std::chrono::steady_clock;

/// Two real agents of two slots, host-a and host-b, on this machine; mpirun reaches one by the
/// other.
class GangOverAgentsTest : public testing::Test {
 protected:
  GangOverAgentsTest() : keys_(make_test_keys()), coordinator_(keys_) {
    // Unique on this machine: processes are looked for by it.
    job_ = "ftjob-parts" + std::to_string(::getpid()) + "x" +
           std::to_string(Clock::now().time_since_epoch().count() % 1'000'000);
    std::filesystem::create_directories(run());
    std::ofstream(run() / "job.json") << "{}";
  }

  std::filesystem::path run() const { return directory_.path() / "jobs" / job_; }
  std::filesystem::path exits() const { return exit_directory_of(run(), 1); }

  std::unique_ptr<AgentProcess> start_agent(const std::string& host) {
    const auto key_file = directory_.path() / (host + ".json");
    write_key_file(key_file, keys_);
    auto agent = std::make_unique<AgentProcess>(std::vector<std::string>{
        "--coordinator", coordinator_.endpoint(), "--curve", key_file, "--slots", "2", "--host",
        host, "--trainer", directory_.path() / "trainer"});
    EXPECT_TRUE(coordinator_.wait_for_beat(
        host, [](const auto&) { return true; }, 10s));
    return agent;
  }
  void start_agents(const std::string& trainer_body) {
    directory_.script("trainer", trainer_body);
    a_ = start_agent("host-a");
    b_ = start_agent("host-b");
  }

  /// Whether the agent says, in time, that it has this gang in that role (nothing: not at all).
  bool lists(const std::string& host, std::optional<wire::GangRole> role,
             std::chrono::milliseconds limit = 5s) {
    const auto fits = [&](const wire::AgentBeat& beat) {
      for (const auto& gang : beat.gangs()) {
        if (gang.job() == job_) return role && gang.role() == *role;
      }
      return !role;
    };
    return coordinator_.wait_for_beat(host, fits, limit).has_value();
  }

  void send_reserve(const std::string& host, uint32_t ranks, uint32_t ttl_ms = 60'000,
                    uint64_t leader = 0, uint64_t attempt = 1) {
    wire::Envelope envelope;
    auto& reserve = *envelope.mutable_reserve_slots();
    reserve.set_job(job_);
    reserve.set_attempt(attempt);
    reserve.set_ranks(ranks);
    reserve.set_ttl_ms(ttl_ms);
    reserve.set_leader(leader);
    coordinator_.send(host, std::move(envelope));
  }
  void send_release(const std::string& host, uint64_t leader = 0) {
    wire::Envelope envelope;
    envelope.mutable_release_slots()->set_job(job_);
    envelope.mutable_release_slots()->set_attempt(1);
    envelope.mutable_release_slots()->set_leader(leader);
    coordinator_.send(host, std::move(envelope));
  }
  void send_stop(const std::string& host, uint32_t grace_ms) {
    wire::Envelope envelope;
    auto& stop = *envelope.mutable_stop_gang();
    stop.set_job(job_);
    stop.set_attempt(1);
    stop.set_grace_ms(grace_ms);
    stop.set_reason("cancelled");
    coordinator_.send(host, std::move(envelope));
  }
  /// Two ranks on host-a, which leads, and `on_b` on host-b.
  void send_start(uint32_t on_b) {
    wire::Envelope envelope;
    auto& start = *envelope.mutable_start_gang();
    start.set_job(job_);
    start.set_attempt(1);
    start.set_ranks(2 + on_b);
    start.set_run_directory(run());
    for (const auto& [host, ranks] : {std::pair{"host-a", 2U}, std::pair{"host-b", on_b}}) {
      auto& part = *start.add_parts();
      part.set_host(host);
      part.set_ranks(ranks);
    }
    coordinator_.send("host-a", std::move(envelope));
  }
  /// Reserves on both and starts; false when an agent does not keep the slots.
  bool start_gang(uint32_t on_b) {
    send_reserve("host-a", 2);
    send_reserve("host-b", on_b);
    if (!lists("host-a", wire::GANG_RESERVED) || !lists("host-b", wire::GANG_RESERVED))
      return false;
    send_start(on_b);
    return true;
  }

  /// Waits until the trainers of `ranks` ranks have made a file "<rank>.up" in the run directory.
  bool ranks_are_up(int ranks) {
    return eventually(
        [&] {
          for (int rank = 0; rank < ranks; ++rank) {
            if (file_text(run() / (std::to_string(rank) + ".up")).empty()) return false;
          }
          return true;
        },
        20s);
  }
  pid_t trainer_of(int rank) {
    return static_cast<pid_t>(std::stol(file_text(run() / (std::to_string(rank) + ".up"))));
  }
  std::vector<pid_t> left_running() { return processes_with("TUNEFLEET_JOB=" + job_); }
  bool nothing_runs_within(std::chrono::milliseconds limit) {
    return eventually([&] { return left_running().empty(); }, limit);
  }

  TestDirectory directory_;
  TestKeys keys_;
  RelayingCoordinator coordinator_;
  std::unique_ptr<AgentProcess> a_;
  std::unique_ptr<AgentProcess> b_;
  std::string job_;
};

/// A trainer that says it is up and then sleeps in a child, as a rank in the middle of a step.
constexpr char kSleeper[] = R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"; sleep 1000 & wait)";
/// One that ends in order when it is told to.
constexpr char kListener[] = R"(
  trap 'echo saved > "$4/$OMPI_COMM_WORLD_RANK.saved"; exit 143' TERM
  echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
  while true; do sleep 0.05; done)";

TEST_F(GangOverAgentsTest, SlotsAreKeptUntilTheyAreReleased) {
  start_agents("exit 0");
  send_reserve("host-b", 2);
  send_reserve("host-b", 2);
  ASSERT_TRUE(lists("host-b", wire::GANG_RESERVED));
  send_release("host-b");
  send_release("host-b");
  EXPECT_TRUE(lists("host-b", std::nullopt));
}

TEST_F(GangOverAgentsTest, SlotsThatAreNeverUsedAreFreeAgain) {
  start_agents("exit 0");
  send_reserve("host-b", 2, 1'500);
  ASSERT_TRUE(lists("host-b", wire::GANG_RESERVED));
  EXPECT_TRUE(lists("host-b", std::nullopt)) << "by itself";
}

TEST_F(GangOverAgentsTest, SlotsThatAreNotThereAreRefusedWithTheNumbers) {
  start_agents("exit 0");
  send_reserve("host-b", 3);
  const auto refused =
      coordinator_.wait_for([](const auto& e) { return e.has_reservation_refused(); }, 5s);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->reservation_refused().job(), job_);
  EXPECT_EQ(refused->reservation_refused().host(), "host-b");
  EXPECT_THAT(refused->reservation_refused().reason(), HasSubstr("3 needed, 2 free"));
}

TEST_F(GangOverAgentsTest, AReplacedCoordinatorIsNotObeyed) {
  start_agents("exit 0");
  send_reserve("host-b", 1, 60'000, 5);
  ASSERT_TRUE(lists("host-b", wire::GANG_RESERVED));
  send_release("host-b", 4);
  send_reserve("host-b", 3, 60'000, 5, 2);  // Answered after what was sent before it.
  ASSERT_TRUE(coordinator_.wait_for([](const auto& e) { return e.has_reservation_refused(); }, 5s));
  EXPECT_TRUE(lists("host-b", wire::GANG_RESERVED));
  send_release("host-b", 5);
  EXPECT_TRUE(lists("host-b", std::nullopt));
}

TEST_F(GangOverAgentsTest, RunsRanksOnEveryHostWithWhatIsItsOwn) {
  start_agents(R"sh(
    echo "$TUNEFLEET_HOST $OMPI_COMM_WORLD_SIZE $(basename "$TUNEFLEET_CURVE")" \
      > "$4/$OMPI_COMM_WORLD_RANK.where"
    echo "$OMPI_MCA_btl_vader_backing_directory" > "$4/$OMPI_COMM_WORLD_RANK.scratch"
    [ -d "$OMPI_MCA_btl_vader_backing_directory" ] || exit 9
    echo "rank $OMPI_COMM_WORLD_RANK speaks"
    [ "$OMPI_COMM_WORLD_RANK" = 0 ] && echo '{"step": 7}' > "$4/result.json"
    exit 0)sh");
  ASSERT_TRUE(start_gang(2));
  const auto ended = coordinator_.wait_for_end(20s);
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->succeeded()) << ended->failure().message();
  EXPECT_THAT(ended->result_json(), HasSubstr("\"step\": 7"));
  for (const char* rank : {"0", "1"}) {
    EXPECT_EQ(file_text(run() / (rank + std::string(".where"))), "host-a 4 host-a.json\n");
  }
  for (const char* rank : {"2", "3"}) {
    EXPECT_EQ(file_text(run() / (rank + std::string(".where"))), "host-b 4 host-b.json\n");
  }
  EXPECT_EQ(file_text(run() / "0.scratch"), file_text(run() / "1.scratch"));
  EXPECT_NE(file_text(run() / "0.scratch"), file_text(run() / "2.scratch"));
  EXPECT_EQ(read_rank_files(exits()).exits.at(3).host, "host-b");
  EXPECT_THAT(file_text(run() / "ranks.log"), HasSubstr("rank 3 speaks"));
  EXPECT_TRUE(nothing_runs_within(2s));
  EXPECT_TRUE(lists("host-a", std::nullopt));
  EXPECT_TRUE(lists("host-b", std::nullopt));
}

TEST_F(GangOverAgentsTest, IsListedByItsLeadAndItsMembers) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  EXPECT_TRUE(lists("host-a", wire::GANG_LEAD));
  EXPECT_TRUE(lists("host-b", wire::GANG_MEMBER));
}

TEST_F(GangOverAgentsTest, ARankThatIsKilledOnAnotherHostIsNamedAndNothingIsLeft) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  const auto killed = Clock::now();
  ASSERT_EQ(::kill(trainer_of(2), SIGKILL), 0);
  const auto ended = coordinator_.wait_for_end(10s);
  const auto took = Clock::now() - killed;
  ASSERT_TRUE(ended);
  EXPECT_LT(took, 5s) << "half a second, on a machine that has nothing else to do";
  RecordProperty("detected_ms", static_cast<int>(took / 1ms));
  EXPECT_EQ(ended->failure().rank(), 2);
  EXPECT_EQ(ended->failure().host(), "host-b");
  EXPECT_THAT(ended->failure().message(), HasSubstr("killed by SIGKILL"));
  EXPECT_THAT(left_running(), IsEmpty()) << "the end is told once the other agent has confirmed it";
}

TEST_F(GangOverAgentsTest, AKilledExecRankOnAnotherHostIsNoticedToo) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  const auto pid = read_rank_files(exits()).exec_ranks.at(2).pid;
  ASSERT_EQ(::kill(static_cast<pid_t>(pid), SIGKILL), 0);
  const auto ended = coordinator_.wait_for_end(10s);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().rank(), 2);
  EXPECT_EQ(ended->failure().host(), "host-b");
  EXPECT_TRUE(nothing_runs_within(1s));
}

TEST_F(GangOverAgentsTest, ARankThatFailsOnTheLeadEndsTheMembersToo) {
  start_agents(R"(
    echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
    if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
      while [ ! -e "$4/2.up" ]; do sleep 0.02; done
      exit 2
    fi
    trap '' TERM
    setsid sleep 1000 & while true; do sleep 0.05; done)");
  ASSERT_TRUE(start_gang(1));
  const auto ended = coordinator_.wait_for_end(20s);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().rank(), 1);
  EXPECT_EQ(ended->failure().host(), "host-a");
  EXPECT_THAT(left_running(), IsEmpty());
  EXPECT_TRUE(lists("host-b", std::nullopt));
}

TEST_F(GangOverAgentsTest, AKilledMemberAgentIsNamedAndNothingIsLeft) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  const auto killed = Clock::now();
  b_->signal(SIGKILL);
  const auto ended = coordinator_.wait_for_end(10s);
  const auto took = Clock::now() - killed;
  ASSERT_TRUE(ended);
  RecordProperty("detected_ms", static_cast<int>(took / 1ms));
  EXPECT_LT(took, 5s);
  EXPECT_FALSE(ended->succeeded());
  EXPECT_EQ(ended->failure().host(), "host-b");
  EXPECT_THAT(ended->failure().message(), HasSubstr("the host was lost with rank 2"));
  EXPECT_TRUE(nothing_runs_within(1s));
}

TEST_F(GangOverAgentsTest, AKilledLeadTakesItsMembersWithIt) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(2));
  ASSERT_TRUE(ranks_are_up(4));
  const auto killed = Clock::now();
  a_->signal(SIGKILL);
  EXPECT_TRUE(nothing_runs_within(4s));
  RecordProperty("gone_ms", static_cast<int>((Clock::now() - killed) / 1ms));
  EXPECT_TRUE(lists("host-b", std::nullopt));
  EXPECT_EQ(coordinator_.ends_heard(), 0U) << "a member does not answer for the gang";
}

TEST_F(GangOverAgentsTest, AKilledLeadTakesItsMembersWithItAlsoWithoutACoordinator) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  coordinator_.close();
  a_->signal(SIGKILL);
  EXPECT_TRUE(nothing_runs_within(20s)) << "orted notices";
  coordinator_.open();
  EXPECT_TRUE(lists("host-b", std::nullopt, 40s));
}

TEST_F(GangOverAgentsTest, StopReachesEveryRankAndLeavesTimeForACheckpoint) {
  start_agents(kListener);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  send_stop("host-a", 10'000);
  const auto ended = coordinator_.wait_for_end(15s);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().code(), "cancelled");
  for (const char* saved : {"0.saved", "1.saved", "2.saved"}) {
    EXPECT_TRUE(std::filesystem::exists(run() / saved)) << saved;
  }
  EXPECT_THAT(left_running(), IsEmpty());
}

TEST_F(GangOverAgentsTest, ReleaseEndsAMembersPartAndTheLeadSaysWhose) {
  start_agents(kSleeper);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  send_release("host-b");
  const auto ended = coordinator_.wait_for_end(10s);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().host(), "host-b");
  EXPECT_TRUE(nothing_runs_within(1s));
  EXPECT_TRUE(lists("host-b", std::nullopt));
  send_stop("host-b", 0);
  send_stop("host-b", 0);
  send_reserve("host-b", 3);  // Answered after what was sent before it.
  ASSERT_TRUE(coordinator_.wait_for([](const auto& e) { return e.has_reservation_refused(); }, 5s));
  EXPECT_EQ(coordinator_.ends_heard(), 0U) << "a member does not answer for the gang";
}

TEST_F(GangOverAgentsTest, AMemberAgentThatIsStoppedLetsTheWholeGangSaveFirst) {
  start_agents(kListener);
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  b_->signal(SIGTERM);
  const auto ended = coordinator_.wait_for_end(15s);
  ASSERT_TRUE(ended);
  EXPECT_THAT(ended->failure().message(), HasSubstr("the agent was stopped"));
  EXPECT_THAT(ended->failure().message(), HasSubstr("host-b"));
  EXPECT_TRUE(std::filesystem::exists(run() / "2.saved"));
  const auto status = b_->wait(15s);
  ASSERT_TRUE(status);
  EXPECT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == 0);
  EXPECT_TRUE(nothing_runs_within(1s));
}

TEST_F(GangOverAgentsTest, ACoordinatorRestartDisturbsNothing) {
  start_agents(R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
                  while [ ! -e "$4/go" ]; do sleep 0.05; done)");
  ASSERT_TRUE(start_gang(1));
  ASSERT_TRUE(ranks_are_up(3));
  coordinator_.close();
  coordinator_.open();
  ASSERT_TRUE(lists("host-a", wire::GANG_LEAD, 15s));
  ASSERT_TRUE(lists("host-b", wire::GANG_MEMBER, 15s));
  std::ofstream(run() / "go") << "go";
  const auto ended = coordinator_.wait_for_end(20s);
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->succeeded()) << ended->failure().message();
  EXPECT_TRUE(lists("host-b", std::nullopt));
}

TEST_F(GangOverAgentsTest, AnAgentThatKeptNoSlotsRunsNothing) {
  start_agents(kSleeper);
  send_start(1);
  const auto ended = coordinator_.wait_for_end(20s);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().host(), "host-b");
  EXPECT_THAT(ended->failure().message(), HasSubstr("no slots are kept for this gang"));
  EXPECT_TRUE(nothing_runs_within(2s));
}

TEST_F(GangOverAgentsTest, PartsThatAreNotTheLeadsAreRefused) {
  start_agents("exit 0");
  wire::Envelope envelope;
  auto& start = *envelope.mutable_start_gang();
  start.set_job(job_);
  start.set_attempt(1);
  start.set_ranks(2);
  start.set_run_directory(run());
  for (const char* host : {"host-b", "host-a"}) {
    start.add_parts()->set_host(host);
    start.mutable_parts(start.parts_size() - 1)->set_ranks(1);
  }
  coordinator_.send("host-a", std::move(envelope));
  const auto ended = coordinator_.wait_for_end(10s);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().code(), "invalid_argument");
  EXPECT_THAT(ended->failure().message(), HasSubstr("host-a, not host-b"));
}

TEST_F(GangOverAgentsTest, OnlyOrtedIsRunForAnother) {
  start_agents("exit 0");
  std::filesystem::create_directories(exits());
  send_reserve("host-b", 1);
  ASSERT_TRUE(lists("host-b", wire::GANG_RESERVED));
  wire::Envelope envelope;
  auto& request = *envelope.mutable_exec_request();
  request.set_id("1");
  request.set_job(job_);
  request.set_attempt(1);
  request.set_host("host-b");
  request.set_run_directory(run());
  request.set_command("touch " + (run() / "touched").string());
  coordinator_.send("host-b", std::move(envelope));
  const auto answer = coordinator_.wait_for([](const auto& e) { return e.has_exec_status(); }, 5s);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->exec_status().phase(), wire::EXEC_REFUSED);
  EXPECT_THAT(answer->exec_status().message(), HasSubstr("not orted"));
  EXPECT_FALSE(std::filesystem::exists(run() / "touched"));
}

TEST_F(GangOverAgentsTest, AnAgentFindsTheCoordinatorThatStoodBy) {
  RelayingCoordinator second(keys_);
  const auto key_file = directory_.path() / "node.json";
  write_key_file(key_file, keys_);
  const auto trainer = directory_.script("trainer", "exit 0");
  const AgentProcess agent({"--coordinator", coordinator_.endpoint() + "," + second.endpoint(),
                            "--curve", key_file, "--host", "host-a", "--trainer", trainer});
  const auto any = [](const wire::AgentBeat&) { return true; };
  ASSERT_TRUE(coordinator_.wait_for_beat("host-a", any, 10s));
  EXPECT_FALSE(second.wait_for_beat("host-a", any, 0ms));
  const auto closed = Clock::now();
  coordinator_.close();
  ASSERT_TRUE(second.wait_for_beat("host-a", any, 15s));
  EXPECT_GE(Clock::now() - closed, 4s);
  coordinator_.open();
}

}  // namespace
}  // namespace tunefleet::agent

#include "tests/worker/agent/agent_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>

#include "worker/agent/run_files.h"

namespace tunefleet::agent {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using Clock = std::chrono::steady_clock;

/// One real agent with two slots, told what to do by a coordinator of the test.
class AgentProcessTest : public testing::Test {
 protected:
  AgentProcessTest() : coordinator_(directory_.path() / "node.json") {
    // Unique on this machine: processes are looked for by it.
    job_ = "ftjob-test" + std::to_string(::getpid()) + "x" +
           std::to_string(Clock::now().time_since_epoch().count() % 1'000'000);
    std::filesystem::create_directories(run());
    std::ofstream(run() / "job.json") << "{}";
  }

  std::filesystem::path run() const { return directory_.path() / "jobs" / job_; }

  /// Starts an agent whose trainer is a script, and waits for its first beat.
  void start_agent(const std::string& trainer_body, std::vector<std::string> more = {}) {
    start_agent_with(directory_.script("trainer", trainer_body), std::move(more));
  }
  void start_agent_with(const std::filesystem::path& trainer, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"--coordinator", coordinator_.endpoint(),
                                       "--curve",       directory_.path() / "node.json",
                                       "--slots",       "2",
                                       "--host",        "host-a",
                                       "--trainer",     trainer};
    arguments.insert(arguments.end(), more.begin(), more.end());
    agent_.reset();
    coordinator_.wait_for([](const auto&) { return false; },
                          100ms);  // What the old one still said.
    agent_ = std::make_unique<AgentProcess>(arguments);
    ASSERT_TRUE(beat([](const wire::AgentBeat&) { return true; }));
  }

  std::optional<wire::AgentBeat> beat(const std::function<bool(const wire::AgentBeat&)>& fits,
                                      std::chrono::milliseconds limit = 10s) {
    const auto found = coordinator_.wait_for(
        [&](const auto& e) { return e.has_agent_beat() && fits(e.agent_beat()); }, limit);
    return found ? std::optional(found->agent_beat()) : std::nullopt;
  }

  void send_start(uint32_t ranks, uint64_t attempt = 1) {
    wire::Envelope envelope;
    auto& start = *envelope.mutable_start_gang();
    start.set_job(job_);
    start.set_attempt(attempt);
    start.set_ranks(ranks);
    start.set_run_directory(run());
    coordinator_.send(std::move(envelope));
  }

  void send_stop(uint32_t grace_ms) {
    wire::Envelope envelope;
    auto& stop = *envelope.mutable_stop_gang();
    stop.set_job(job_);
    stop.set_attempt(1);
    stop.set_grace_ms(grace_ms);
    stop.set_reason("cancelled");
    coordinator_.send(std::move(envelope));
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
  FakeCoordinator coordinator_;
  std::unique_ptr<AgentProcess> agent_;
  std::string job_;
};

/// A trainer that says it is up and then sleeps in a child, as a rank in the middle of a step.
constexpr char kSleeper[] = R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"; sleep 1000 & wait)";

TEST_F(AgentProcessTest, ASuccessfulRunReportsItsResult) {
  start_agent(R"(
    [ "$1" = run ] && [ -f "$2" ] && [ "$3" = --output-dir ] || exit 9
    echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE, attempt $TUNEFLEET_ATTEMPT"
    [ -f "$TUNEFLEET_CURVE" ] && [ -n "$TUNEFLEET_RANK_ENDPOINT" ] || exit 8
    [ "$OMPI_COMM_WORLD_RANK" = 0 ] && echo '{"step": 7}' > "$4/result.json"
    exit 0)");
  send_start(2);
  const auto ended = coordinator_.wait_for_end(20s, true);
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->succeeded()) << ended->failure().message();
  EXPECT_EQ(ended->job(), job_);
  EXPECT_EQ(ended->attempt(), 1U);
  EXPECT_THAT(ended->result_json(), HasSubstr("\"step\": 7"));
  EXPECT_THAT(file_text(run() / "ranks.log"), HasSubstr("rank 1 of 2, attempt 1"));
  EXPECT_THAT(left_running(), IsEmpty());
  const auto after = beat([](const wire::AgentBeat&) { return true; });
  EXPECT_EQ(after->gangs_size(), 0);
}

TEST_F(AgentProcessTest, ARankThatFailsIsReportedWithItsOwnWords) {
  start_agent(R"(
    if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
      echo '{"code": "invalid_argument", "message": "empty data set: x.jsonl"}' > "$TUNEFLEET_EXIT_DIR/1.error.json"
      exit 2
    fi
    sleep 1000)");
  send_start(2);
  const auto ended = coordinator_.wait_for_end(20s, true);
  ASSERT_TRUE(ended);
  EXPECT_FALSE(ended->succeeded());
  EXPECT_EQ(ended->failure().rank(), 1);
  EXPECT_EQ(ended->failure().host(), "host-a");
  EXPECT_EQ(ended->failure().code(), "invalid_argument");
  EXPECT_EQ(ended->failure().message(), "empty data set: x.jsonl");
  EXPECT_THAT(left_running(), IsEmpty());
}

TEST_F(AgentProcessTest, AKilledRankIsReportedWithinTwoSecondsAndNothingIsLeft) {
  start_agent(kSleeper);
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  const auto killed = Clock::now();
  ASSERT_EQ(::kill(trainer_of(1), SIGKILL), 0);
  const auto ended = coordinator_.wait_for_end(10s, true);
  const auto took = Clock::now() - killed;
  ASSERT_TRUE(ended);
  EXPECT_LT(took, 2s);
  RecordProperty("detected_ms", static_cast<int>(took / 1ms));
  EXPECT_EQ(ended->failure().rank(), 1);
  EXPECT_EQ(ended->failure().host(), "host-a");
  EXPECT_THAT(ended->failure().message(), HasSubstr("killed by SIGKILL"));
  EXPECT_THAT(left_running(), IsEmpty());
}

TEST_F(AgentProcessTest, AKilledExecRankIsNoticedToo) {
  start_agent(kSleeper);
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  const auto pid = read_rank_files(exit_directory_of(run(), 1)).exec_ranks.at(1).pid;
  ASSERT_EQ(::kill(static_cast<pid_t>(pid), SIGKILL), 0);
  const auto ended = coordinator_.wait_for_end(5s, true);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().rank(), 1);
  EXPECT_THAT(ended->failure().message(), HasSubstr("killed by SIGKILL"));
  EXPECT_THAT(left_running(), IsEmpty());
}

TEST_F(AgentProcessTest, StopLeavesTimeForACheckpoint) {
  start_agent(R"(
    trap 'sleep 2; echo saved > "$4/$OMPI_COMM_WORLD_RANK.saved"; exit 143' TERM
    echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
    if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then trap 'exit 143' TERM; fi
    while true; do sleep 0.05; done)");
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  const auto begin = Clock::now();
  send_stop(10'000);
  const auto ended = coordinator_.wait_for_end(15s, true);
  ASSERT_TRUE(ended);
  EXPECT_LT(Clock::now() - begin, 5s);
  EXPECT_TRUE(std::filesystem::exists(run() / "0.saved")) << "rank 1 was gone two seconds earlier";
  EXPECT_FALSE(ended->succeeded());
  EXPECT_EQ(ended->failure().code(), "cancelled");
  EXPECT_EQ(ended->failure().message(), "cancelled");
  EXPECT_THAT(left_running(), IsEmpty());
}

TEST_F(AgentProcessTest, StopKillsWhatDoesNotListen) {
  start_agent(R"(trap '' TERM; echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
                 setsid sleep 1000 & while true; do sleep 0.05; done)");
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  const auto begin = Clock::now();
  send_stop(700);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_GE(Clock::now() - begin, 600ms);
  EXPECT_LT(Clock::now() - begin, 3s);
  EXPECT_THAT(left_running(), IsEmpty()) << "also what went into a session of its own";
}

TEST_F(AgentProcessTest, TheEndIsToldUntilItIsAcknowledgedAcrossACoordinatorRestart) {
  start_agent("exit 0");
  send_start(1);
  ASSERT_TRUE(coordinator_.wait_for_end(20s, false));
  coordinator_.close();
  coordinator_.open();
  const auto again = coordinator_.wait_for_end(15s, true);
  ASSERT_TRUE(again) << "the agent reconnects by itself";
  EXPECT_TRUE(again->succeeded());
  EXPECT_FALSE(coordinator_.wait_for_end(2500ms, false)) << "acknowledged, so not told again";
}

TEST_F(AgentProcessTest, ARunningGangSurvivesACoordinatorRestart) {
  start_agent(kSleeper);
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  coordinator_.close();
  coordinator_.open();
  const auto listed = beat([](const wire::AgentBeat& b) { return b.gangs_size() == 1; }, 15s);
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->gangs(0).job(), job_);
}

TEST_F(AgentProcessTest, StartingTwiceIsStartingOnce) {
  start_agent(R"(echo started >> "$4/starts"; sleep 0.5)");
  send_start(1);
  send_start(1);
  ASSERT_TRUE(coordinator_.wait_for_end(20s, true));
  send_start(1);
  const auto again = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(again) << "a lost acknowledgement: told again, not run again";
  EXPECT_TRUE(again->succeeded());
  EXPECT_EQ(file_text(run() / "starts"), "started\n");
}

TEST_F(AgentProcessTest, ARestartedAgentRemembersHowAGangEnded) {
  start_agent(R"(echo '{"step": 3}' > "$4/result.json")");
  send_start(1);
  ASSERT_TRUE(coordinator_.wait_for_end(20s, false));
  agent_->signal(SIGKILL);
  start_agent("exit 1");
  send_start(1);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->succeeded());
  EXPECT_THAT(ended->result_json(), HasSubstr("\"step\": 3"));
}

TEST_F(AgentProcessTest, AKilledAgentLeavesNothingRunning) {
  start_agent(kSleeper);
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  ASSERT_GE(left_running().size(), 5U);
  const auto killed = Clock::now();
  agent_->signal(SIGKILL);
  EXPECT_TRUE(nothing_runs_within(5s));
  RecordProperty("gone_ms", static_cast<int>((Clock::now() - killed) / 1ms));
  start_agent(kSleeper);
  send_start(2);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_THAT(ended->failure().message(), HasSubstr("agent was restarted"));
}

TEST_F(AgentProcessTest, AStoppedAgentEndsItsGangsAndSaysSo) {
  start_agent(kSleeper);
  send_start(2);
  ASSERT_TRUE(ranks_are_up(2));
  agent_->signal(SIGTERM);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_THAT(ended->failure().message(), HasSubstr("the agent was stopped"));
  const auto status = agent_->wait(5s);
  ASSERT_TRUE(status);
  EXPECT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == 0);
  EXPECT_THAT(left_running(), IsEmpty());
}

TEST_F(AgentProcessTest, AMissingMpirunIsNamedWithTheWayOut) {
  start_agent("exit 0", {"--mpirun", "/nowhere/mpirun"});
  send_start(1);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().rank(), -1);
  EXPECT_THAT(ended->failure().message(), HasSubstr("/nowhere/mpirun"));
  EXPECT_THAT(ended->failure().message(), HasSubstr("openmpi-bin"));
}

TEST_F(AgentProcessTest, AnMpirunThatFailsIsReportedWithItsLastWords) {
  const auto mpirun = directory_.script("broken-mpirun", "echo 'no such fabric: warp' >&2; exit 1");
  start_agent("exit 0", {"--mpirun", mpirun});
  send_start(1);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().rank(), -1);
  EXPECT_THAT(ended->failure().message(), HasSubstr("no such fabric: warp"));
}

TEST_F(AgentProcessTest, MoreRanksThanSlotsAreRefused) {
  start_agent("exit 0");
  send_start(3);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->failure().code(), "resource_exhausted");
  EXPECT_THAT(ended->failure().message(), HasSubstr("3 needed, 2 free"));
}

TEST_F(AgentProcessTest, ATrainerThatCannotBeExecutedIsNamed) {
  const auto trainer = directory_.path() / "not-executable";
  std::ofstream(trainer) << "text";
  start_agent_with(trainer);
  send_start(2);
  const auto ended = coordinator_.wait_for_end(10s, true);
  ASSERT_TRUE(ended);
  EXPECT_THAT(ended->failure().message(), HasSubstr("not-executable"));
}

}  // namespace
}  // namespace tunefleet::agent

#include "coordinator/fleet/fleet_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "coordinator/fleet/curve_keys.h"
#include "proto/wire.pb.h"
#include "tests/coordinator/queue/redis_server.h"
#include "tests/worker/agent/agent_process.h"

namespace tunefleet::coordinator {
namespace {

using namespace std::chrono_literals;
using agent::AgentProcess;
using agent::eventually;
using agent::processes_with;
using testing::HasSubstr;
using testing::IsEmpty;
using Clock = std::chrono::steady_clock;

/// The whole chain but the trainer: Redis, the fleet service, the real agent, mpirun, exec-rank.
class FleetServiceTest : public testing::Test {
 protected:
  FleetServiceTest() {
    auto store = open_redis_job_store(redis_.url());
    store_ = std::move(*store);
    options_ = {.endpoint = "tcp://127.0.0.1:*",
                .keys_directory = directory_.path() / "keys",
                .jobs_directory = directory_.path() / "jobs"};
    start_service();
  }
  ~FleetServiceTest() override { agent_.reset(); }

  void start_service() {
    auto service = FleetService::start(options_, *store_);
    ASSERT_TRUE(service) << service.error().message;
    service_ = std::move(*service);
    options_.endpoint = service_->endpoint();
  }

  void start_agent(const std::string& trainer_body) {
    agent_ = std::make_unique<AgentProcess>(std::vector<std::string>{
        "--coordinator", service_->endpoint(), "--curve", options_.keys_directory / "node.json",
        "--slots", "2", "--host", "host-a", "--trainer",
        directory_.script("trainer", trainer_body)});
  }

  std::string submit(int64_t workers = 2) {
    const auto job = store_->create({.phase = JobPhase::kQueued,
                                     .workers = workers,
                                     .min_workers = workers,
                                     .max_workers = workers,
                                     .spec = {{"seed", 1}}},
                                    "");
    EXPECT_TRUE(job);
    service_->wake();
    return job->id;
  }
  JobPhase phase(const std::string& id) {
    const auto job = store_->get(id);
    return job ? job->phase : JobPhase::kValidatingFiles;
  }
  bool reaches(const std::string& id, JobPhase wanted, std::chrono::milliseconds limit = 20s) {
    return eventually([&] { return phase(id) == wanted; }, limit);
  }
  bool up(const std::string& id, int rank) {
    const auto file = options_.jobs_directory / id / (std::to_string(rank) + ".up");
    std::error_code error;
    return eventually([&] { return std::filesystem::file_size(file, error) > 0 && !error; }, 20s);
  }

  agent::TestDirectory directory_;
  RedisServer redis_;
  std::unique_ptr<JobStore> store_;
  FleetOptions options_;
  std::unique_ptr<FleetService> service_;
  std::unique_ptr<AgentProcess> agent_;
};

constexpr char kSleeper[] = R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"; sleep 1000 & wait)";

TEST_F(FleetServiceTest, AJobRunsToItsEnd) {
  const auto id = submit();
  EXPECT_TRUE(eventually([&] { return service_->position(id).position == 1; }, 5s));
  EXPECT_EQ(service_->position(id).reason, "no agent is connected");
  start_agent(
      R"([ "$OMPI_COMM_WORLD_RANK" = 0 ] && echo '{"step": 5}' > "$4/result.json"; exit 0)");
  ASSERT_TRUE(reaches(id, JobPhase::kSucceeded)) << store_->get(id)->error->message;
  EXPECT_EQ(store_->get(id)->result["step"], 5);
  EXPECT_EQ(service_->position(id).position, 0);
  const auto agents = service_->agents();
  ASSERT_EQ(agents.size(), 1U);
  EXPECT_EQ(agents[0].host, "host-a");
  EXPECT_TRUE(agents[0].alive);
  EXPECT_TRUE(eventually([&] { return service_->agents()[0].free_slots == 2; }, 5s));
}

TEST_F(FleetServiceTest, AKilledRankEndsTheAttemptWithRankHostAndReasonAndTheJobGoesOn) {
  start_agent(kSleeper);
  const auto id = submit();
  ASSERT_TRUE(up(id, 0) && up(id, 1));
  std::ifstream in(options_.jobs_directory / id / "1.up");
  pid_t pid = 0;
  in >> pid;
  const auto killed = Clock::now();
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  ASSERT_TRUE(reaches(id, JobPhase::kQueued, 5s));
  RecordProperty("ended_ms", static_cast<int>((Clock::now() - killed) / 1ms));
  EXPECT_LT(Clock::now() - killed, 2s);
  const auto job = store_->get(id);
  EXPECT_EQ(job->failure["rank"], 1);
  EXPECT_EQ(job->failures.infrastructure, 1);
  EXPECT_THAT(store_->events_before(id, 0, 1)->events[0].message,
              HasSubstr("rank 1 on host-a was killed by SIGKILL"));
  ASSERT_TRUE(eventually([&] { return store_->get(id)->attempt == 2; }, 10s));
  EXPECT_TRUE(reaches(id, JobPhase::kRunning));
}

TEST_F(FleetServiceTest, ACancelStopsTheRanks) {
  start_agent(R"(trap 'echo saved > "$4/saved"; exit 143' TERM
                 echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"; while true; do sleep 0.05; done)");
  const auto id = submit();
  ASSERT_TRUE(up(id, 0) && up(id, 1));
  ASSERT_TRUE(store_->request_stop(id, StopReason::kCancel, "", 0));
  service_->wake();
  ASSERT_TRUE(reaches(id, JobPhase::kCancelled, 10s));
  EXPECT_TRUE(std::filesystem::exists(options_.jobs_directory / id / "saved"));
}

TEST_F(FleetServiceTest, AJobOutlivesTheCoordinator) {
  start_agent(R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
                 while [ ! -e "$4/go" ]; do sleep 0.05; done)");
  const auto id = submit();
  ASSERT_TRUE(up(id, 0) && up(id, 1));
  service_.reset();
  start_service();
  EXPECT_TRUE(eventually([&] { return !service_->agents().empty(); }, 15s));
  EXPECT_EQ(phase(id), JobPhase::kRunning);
  std::ofstream(options_.jobs_directory / id / "go") << "";
  EXPECT_TRUE(reaches(id, JobPhase::kSucceeded));
}

TEST_F(FleetServiceTest, AnEndDuringARedisCrashIsNotLost) {
  start_agent(R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
                 while [ ! -e "$4/go" ]; do sleep 0.05; done)");
  const auto id = submit();
  ASSERT_TRUE(up(id, 0) && up(id, 1));
  redis_.kill();
  std::ofstream(options_.jobs_directory / id / "go") << "";
  ASSERT_TRUE(eventually([&] { return processes_with("TUNEFLEET_JOB=" + id).empty(); }, 20s));
  std::this_thread::sleep_for(2s);
  redis_.start();
  EXPECT_TRUE(reaches(id, JobPhase::kSucceeded, 10s));
}

TEST_F(FleetServiceTest, AJobOfAKilledAgentGoesOnWhenTheAgentIsBack) {
  start_agent(kSleeper);
  const auto id = submit();
  ASSERT_TRUE(up(id, 0) && up(id, 1));
  agent_->signal(SIGKILL);
  start_agent("exit 0");
  ASSERT_TRUE(reaches(id, JobPhase::kSucceeded, 30s));
  EXPECT_EQ(store_->get(id)->attempt, 2);
}

TEST_F(FleetServiceTest, ASecondCoordinatorTakesOverWithTheJobsThatRun) {
  start_agent(R"(echo $$ > "$4/$OMPI_COMM_WORLD_RANK.up"
                 while [ ! -e "$4/go" ]; do sleep 0.05; done)");
  const auto id = submit();
  ASSERT_TRUE(up(id, 0) && up(id, 1));
  auto other = options_;
  other.place = "elsewhere";
  const auto second = FleetService::start(other, *store_);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ((*second)->endpoint(), "") << "it stands by";
  service_.reset();
  ASSERT_TRUE(eventually([&] { return !(*second)->agents().empty(); }, 20s));
  EXPECT_EQ(phase(id), JobPhase::kRunning);
  std::ofstream(options_.jobs_directory / id / "go") << "";
  EXPECT_TRUE(reaches(id, JobPhase::kSucceeded));
  EXPECT_EQ(store_->get(id)->attempt, 1) << "nothing was disturbed";
}

std::chrono::nanoseconds processor_time() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

TEST_F(FleetServiceTest, StandingByIsIdleAfterASubmissionToo) {
  auto other = options_;
  other.place = "elsewhere";
  const auto second = FleetService::start(other, *store_);
  ASSERT_TRUE(second) << second.error().message;
  (*second)->wake();
  const auto before = processor_time();
  std::this_thread::sleep_for(1s);
  EXPECT_LT(processor_time() - before, 300ms);
}

/// Sends one beat as `host` with the keys in `file`; whether the service saw the agent.
bool joins(FleetService& service, const std::filesystem::path& file, const std::string& host,
           std::chrono::milliseconds limit) {
  std::ifstream in(file);
  const auto keys = nlohmann::json::parse(in);
  zmq::context_t context(1);
  zmq::socket_t dealer(context, zmq::socket_type::dealer);
  dealer.set(zmq::sockopt::linger, 0);
  dealer.set(zmq::sockopt::curve_serverkey, keys["server_public"].get<std::string>());
  dealer.set(zmq::sockopt::curve_publickey, keys["public"].get<std::string>());
  dealer.set(zmq::sockopt::curve_secretkey, keys["secret"].get<std::string>());
  dealer.connect(service.endpoint());
  wire::Envelope envelope;
  envelope.set_version(1);
  envelope.mutable_agent_beat()->set_host(host);
  dealer.send(zmq::buffer(envelope.SerializeAsString()), zmq::send_flags::none);
  return eventually(
      [&] {
        for (const auto& agent : service.agents()) {
          if (agent.host == host) return true;
        }
        return false;
      },
      limit);
}

TEST_F(FleetServiceTest, OnlyAllowedKeysGetIn) {
  const auto node = make_node_keys(options_.keys_directory, "host-b");
  ASSERT_TRUE(node);
  EXPECT_TRUE(joins(*service_, *node, "host-b", 5s));
  const auto other = make_node_keys(options_.keys_directory, "host-c");
  std::filesystem::remove(options_.keys_directory / "allowed/host-c.pub");
  EXPECT_FALSE(joins(*service_, *other, "host-c", 1500ms));
}

TEST_F(FleetServiceTest, ATakenPortIsNamed) {
  RedisServer other_redis;  // Another fleet, which nobody leads yet.
  const auto other_store = open_redis_job_store(other_redis.url());
  ASSERT_TRUE(other_store);
  const auto second = FleetService::start(options_, **other_store);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(second.error().message, HasSubstr(options_.endpoint));
}

}  // namespace
}  // namespace tunefleet::coordinator

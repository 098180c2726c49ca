#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "coordinator/client/child_process.h"
#include "coordinator/client/data_lock.h"
#include "coordinator/client/private_redis.h"
#include "coordinator/queue/job_store.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class ChildrenTest : public testing::Test {
 protected:
  ChildrenTest() {
    std::string name = (fs::temp_directory_path() / "tunefleet-up-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~ChildrenTest() override { fs::remove_all(directory_); }

  ChildSpec shell(const std::string& script) {
    return {.name = "child", .arguments = {"sh", "-c", script}, .log = directory_ / "child.log"};
  }
  static std::string end_of(ChildProcess& child) {
    for (int i = 0; i < 500; ++i) {
      if (auto end = child.poll_end()) return *end;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return "still running";
  }

  fs::path directory_;
};

TEST_F(ChildrenTest, TellsHowAChildEnded) {
  ChildProcess good(shell("exit 7"));
  ASSERT_TRUE(good.start());
  EXPECT_EQ(end_of(good), "ended with exit code 7");
  EXPECT_FALSE(good.poll_end());
  ChildProcess killed(shell("kill -KILL $$"));
  ASSERT_TRUE(killed.start());
  EXPECT_EQ(end_of(killed), "was killed by SIGKILL");
}

TEST_F(ChildrenTest, ShowsOnlyTheLogOfThisStart) {
  ChildProcess child(shell("echo out; echo err >&2"));
  std::ofstream(directory_ / "child.log") << "from before\n";
  ASSERT_TRUE(child.start());
  end_of(child);
  EXPECT_EQ(child.log_tail(), "out\nerr\n");
}

TEST_F(ChildrenTest, NamesAProgramThatIsNotThere) {
  ChildProcess child({.name = "x", .arguments = {"/nowhere/x"}, .log = directory_ / "x.log"});
  const auto started = child.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kNotFound);
  EXPECT_NE(started.error().message.find("/nowhere/x"), std::string::npos);
}

TEST_F(ChildrenTest, KillsTheWholeGroupOfAChildThatWillNotEnd) {
  ChildProcess child(shell("trap '' TERM; sleep 100 & echo $!; wait; sleep 100"));
  ASSERT_TRUE(child.start());
  while (child.log_tail().empty()) std::this_thread::sleep_for(milliseconds(5));
  const pid_t grandchild = std::stoi(child.log_tail());
  child.signal(SIGTERM);
  child.wait_or_kill(milliseconds(100));
  EXPECT_FALSE(child.running());
  for (int i = 0; i < 200 && ::kill(grandchild, 0) == 0; ++i) {
    std::ifstream status("/proc/" + std::to_string(grandchild) + "/stat");
    std::string pid, name, state;
    status >> pid >> name >> state;
    if (state == "Z" || state.empty()) break;  // Dead, and nobody has asked yet how.
    std::this_thread::sleep_for(milliseconds(10));
    ASSERT_LT(i, 199) << "process " << grandchild << " is left, in state " << state;
  }
}

TEST_F(ChildrenTest, GivesAChildNoneOfOurFiles) {
  const int ours = ::dup(STDERR_FILENO);
  ChildProcess child(shell("ls /proc/self/fd | wc -l"));
  ASSERT_TRUE(child.start());
  end_of(child);
  ::close(ours);
  EXPECT_EQ(child.log_tail(), "4\n");  // 0, 1, 2, and the directory that ls reads.
}

TEST_F(ChildrenTest, AllowsOneServiceOnADirectory) {
  EXPECT_EQ(DataLock::holder(directory_), 0);
  auto lock = DataLock::take(directory_);
  ASSERT_TRUE(lock);
  const auto second = DataLock::take(directory_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())),
            std::string::npos);
  EXPECT_EQ(DataLock::holder(directory_), ::getpid());
  lock = fail(ErrorCode::kCancelled, "given back");
  EXPECT_EQ(DataLock::holder(directory_), 0);
  EXPECT_TRUE(DataLock::take(directory_));
}

class PrivateRedisTest : public ChildrenTest {
 protected:
  void SetUp() override {
    if (!is_in_path("redis-server")) GTEST_SKIP() << "redis-server is not installed";
  }
};

TEST_F(PrivateRedisTest, KeepsAJobOverAKill) {
  auto redis = PrivateRedis::create(directory_);
  ASSERT_TRUE(redis) << redis.error().message;
  ASSERT_TRUE((*redis)->start());
  auto store = open_redis_job_store((*redis)->url());
  ASSERT_TRUE(store);
  JobRecord job;
  job.id = "ftjob-abcdefghijklmnopqrstuvwx";
  job.owner = "admin";
  job.phase = JobPhase::kQueued;
  ASSERT_TRUE((*store)->create(job, ""));
  (*redis)->process().signal(SIGKILL);
  EXPECT_EQ(end_of((*redis)->process()), "was killed by SIGKILL");
  ASSERT_TRUE((*redis)->start());
  Result<JobRecord> found = (*store)->get(job.id);
  for (int i = 0; i < 100 && !found; ++i) {  // The store waits a moment before it connects again.
    std::this_thread::sleep_for(milliseconds(50));
    found = (*store)->get(job.id);
  }
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->owner, "admin");
}

TEST_F(PrivateRedisTest, WorksInADirectoryTooDeepForASocketsName) {
  const auto deep = directory_ / std::string(80, 'x') / std::string(80, 'y');
  fs::create_directories(deep);
  auto redis = PrivateRedis::create(deep);
  ASSERT_TRUE(redis) << redis.error().message;
  ASSERT_TRUE((*redis)->start());
  auto store = open_redis_job_store((*redis)->url());
  ASSERT_TRUE(store);
  EXPECT_TRUE((*store)->ping());
}

TEST_F(PrivateRedisTest, TellsWhyItDidNotStart) {
  fs::create_directories(directory_ / "redis" / "appendonlydir");
  std::ofstream(directory_ / "redis" / "appendonlydir" / "appendonly.aof.manifest") << "nonsense";
  auto redis = PrivateRedis::create(directory_);
  ASSERT_TRUE(redis);
  const auto started = (*redis)->start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("manifest"), std::string::npos) << started.error().message;
}

}  // namespace
}  // namespace tunefleet::coordinator

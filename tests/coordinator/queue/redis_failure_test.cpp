#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "coordinator/queue/redis_connection.h"
#include "tests/coordinator/queue/redis_server.h"

namespace tunefleet::coordinator {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(RedisJobStoreFailures, AnUnreachableServerIsNamedWithTheWayOut) {
  const auto store = open_redis_job_store("unix:///nowhere/redis.sock");
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(store.error().message,
              AllOf(HasSubstr("start redis-server"), HasSubstr("unix:///nowhere/redis.sock")));
}

TEST(RedisJobStoreFailures, ACrashIsUnavailableAndTheStoreRecoversByItself) {
  RedisServer redis;
  auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->create(JobRecord{.id = "ftjob-a", .phase = JobPhase::kQueued}, ""));
  redis.kill();
  const auto lost = (*store)->get("ftjob-a");
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ((*store)->ping().error().code, ErrorCode::kUnavailable);

  redis.start();
  const auto started =
      (*store)->transition("ftjob-a", 0, JobPhase::kQueued, JobPhase::kRunning, {});
  ASSERT_TRUE(started) << started.error().message << ": scripts are loaded anew, data is kept";
  EXPECT_EQ(started->attempt, 1);
}

TEST(RedisJobStoreFailures, AHangingServerIsReportedInTimeAndThenAtOnce) {
  using Clock = std::chrono::steady_clock;
  RedisServer redis;
  auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  redis.freeze(true);
  auto begin = Clock::now();
  EXPECT_EQ((*store)->ping().error().code, ErrorCode::kUnavailable);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));
  begin = Clock::now();
  EXPECT_EQ((*store)->ping().error().code, ErrorCode::kUnavailable);
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(200));
  redis.freeze(false);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_TRUE((*store)->ping());
}

TEST(RedisJobStoreFailures, AnIdempotencyKeyIsForgottenAfterTenMinutes) {
  RedisServer redis;
  auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->create(JobRecord{.owner = "ann", .phase = JobPhase::kQueued}, "key"));
  RedisPool pool(*parse_redis_url(redis.url()));
  const auto left = pool.command({"PTTL", "tf:{owner:ann}:idempotency:key"});
  ASSERT_TRUE(left);
  EXPECT_GT((*left)->integer, 590'000);
  EXPECT_LE((*left)->integer, 600'000);
}

TEST(RedisJobStores, SeeWhatAnotherProcessHasPutBackIntoTheQueue) {
  RedisServer redis;
  const auto reader = open_redis_job_store(redis.url());
  const auto writer = open_redis_job_store(redis.url());
  ASSERT_TRUE(reader && writer);
  for (const char* id : {"ftjob-a", "ftjob-b"}) {
    ASSERT_TRUE((*writer)->create(JobRecord{.id = id, .phase = JobPhase::kQueued}, ""));
  }
  ASSERT_EQ((*reader)->queued()->size(), 2U);
  ASSERT_TRUE((*writer)->transition("ftjob-b", 0, JobPhase::kQueued, JobPhase::kRunning, {}));
  ASSERT_TRUE((*writer)->transition("ftjob-b", 1, JobPhase::kRunning, JobPhase::kQueued, {}));
  const auto queued = (*reader)->queued();
  ASSERT_EQ(queued->size(), 2U);
  EXPECT_EQ(queued->at(0).attempt, 0);
  EXPECT_EQ(queued->at(1).attempt, 1) << "it left and came back between two readings";
}

TEST(RedisJobStores, ReadTheQueueAnewWhenTheServerHasLostItsCount) {
  RedisServer redis;
  const auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->create(JobRecord{.id = "ftjob-a", .phase = JobPhase::kQueued}, ""));
  for (int64_t attempt = 0; attempt < 2; ++attempt) {
    ASSERT_TRUE(
        (*store)->transition("ftjob-a", attempt, JobPhase::kQueued, JobPhase::kRunning, {}));
    ASSERT_TRUE(
        (*store)->transition("ftjob-a", attempt + 1, JobPhase::kRunning, JobPhase::kQueued, {}));
  }
  ASSERT_EQ((*store)->queued()->at(0).attempt, 2);
  RedisPool pool(*parse_redis_url(redis.url()));
  const auto lost = pool.commands(
      {{"DEL", "tf:requeues", "tf:requeued"}, {"HSET", "tf:{ftjob-a}:job", "not_before_ms", "1"}});
  for (const auto& reply : lost) ASSERT_TRUE(reply);
  EXPECT_EQ((*store)->queued()->at(0).not_before_ms, 1) << "an older copy of the data took over";
}

TEST(RedisJobStores, ReadTheQueueAnewWhenTooManyCameBackToKnowThemAll) {
  RedisServer redis;
  const auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->create(JobRecord{.id = "ftjob-a", .phase = JobPhase::kQueued}, ""));
  ASSERT_EQ((*store)->queued()->size(), 1U);
  RedisPool pool(*parse_redis_url(redis.url()));
  std::vector<std::vector<std::string>> noted{
      {"HSET", "tf:{ftjob-a}:job", "not_before_ms", "3"}};  // As if told of before what is kept.
  for (int i = 1; i <= 9'000; ++i) {
    noted.push_back({"ZADD", "tf:requeued", std::to_string(i), "ftjob-" + std::to_string(i)});
  }
  for (const auto& reply : pool.commands(noted)) ASSERT_TRUE(reply);
  EXPECT_EQ((*store)->queued()->at(0).not_before_ms, 3);
}

TEST(RedisJobStoreFailures, AJobRemembersItsLastCallsAndNoMore) {
  RedisServer redis;
  auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->create(JobRecord{.id = "ftjob-a", .phase = JobPhase::kQueued}, ""));
  RedisPool pool(*parse_redis_url(redis.url()));
  const auto calls = [&pool] {
    const auto reply = pool.command({"HGET", "tf:{ftjob-a}:job", "state"});
    const std::string state((*reply)->str, (*reply)->len);
    return state.substr(state.rfind('\t') + 1);
  };
  for (int i = 0; i < 20; ++i) {
    const std::string before = calls();
    ASSERT_TRUE((*store)->request_stop("ftjob-a", StopReason::kPause, "", 0));
    ASSERT_TRUE((*store)->resume("ftjob-a"));
    const std::string after = calls();
    const std::string newest = before.substr(before.rfind(' '));
    EXPECT_THAT(after, AllOf(HasSubstr(newest + " "), testing::StartsWith(" ")));
    EXPECT_LE(after.size(), 160U);
  }
  EXPECT_GT(std::ranges::count(calls(), ' '), 4);
}

TEST(RedisJobStoreFailures, WhatWasAlteredInRedisIsNamed) {
  RedisServer redis;
  const auto store = open_redis_job_store(redis.url());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->create(JobRecord{.id = "ftjob-a", .phase = JobPhase::kQueued}, ""));
  RedisPool pool(*parse_redis_url(redis.url()));
  const auto altered = [&](const char* field, const char* value) {
    EXPECT_TRUE(pool.command({"HSET", "tf:{ftjob-a}:job", field, value}));
    const auto job = (*store)->get("ftjob-a");
    return job ? "read" : std::string(error_code_name(job.error().code)) + job.error().message;
  };
  EXPECT_THAT(altered("not_before_ms", "soon"),
              AllOf(HasSubstr("data_loss"), HasSubstr("ftjob-a, not_before_ms = soon")));
  EXPECT_THAT(altered("given", "{}"), HasSubstr("given = {}"));
  EXPECT_THAT(altered("state", "queued\t0"), HasSubstr("state = queued\t0"));
  for (const char* entry : {"", "12 {\"level\":\"info\"}", "{\"level\":1}"}) {
    ASSERT_TRUE(pool.command({"LSET", "tf:{ftjob-a}:events", "0", entry}));
    const auto events = (*store)->events_after("ftjob-a", 0, 9);
    ASSERT_FALSE(events) << entry;
    EXPECT_THAT(events.error().message, AllOf(HasSubstr("ftevent-a-1"), HasSubstr(entry)));
  }
}

TEST(RedisJobStoreFailures, AQueueOfTheEarlierFormIsRefused) {
  RedisServer redis;
  RedisPool pool(*parse_redis_url(redis.url()));
  ASSERT_TRUE(pool.command({"INCR", "tf:sequence"}));
  const auto store = open_redis_job_store(redis.url());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kConflict);
  EXPECT_THAT(store.error().message, HasSubstr("an earlier tunefleet"));
}

TEST(RedisPool, ManyCallersEachGetTheirOwnAnswerAlsoAcrossARestart) {
  RedisServer redis;
  RedisPool pool(*parse_redis_url(redis.url()));
  std::atomic<int> wrong = 0;
  std::atomic<int> answered = 0;
  std::atomic<bool> enough = false;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 40; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; !enough; ++i) {
        const std::string text = std::to_string(caller) + "-" + std::to_string(i);
        const auto reply = pool.command({"ECHO", text});
        const bool right = reply ? std::string((*reply)->str, (*reply)->len) == text
                                 : reply.error().code == ErrorCode::kUnavailable;
        wrong += right ? 0 : 1;
        answered += reply ? 1 : 0;
      }
    });
  }
  const auto more_answers = [&answered] {
    const int before = answered;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (answered < before + 1'000 && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    return answered >= before + 1'000;
  };
  EXPECT_TRUE(more_answers());
  redis.kill();
  redis.start();
  EXPECT_TRUE(more_answers()) << "after the restart";
  enough = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(pool.command({"PING"}));
}

TEST(RedisPool, SeveralCommandsGetTheirAnswersInOrder) {
  RedisServer redis;
  RedisPool pool(*parse_redis_url(redis.url()));
  EXPECT_TRUE(pool.commands({}).empty());
  std::vector<std::vector<std::string>> list;
  for (int i = 0; i < 1'000; ++i) list.push_back({"ECHO", std::to_string(i)});
  std::vector<std::thread> callers;
  std::atomic<int> right = 0;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      const auto replies = pool.commands(list);
      for (size_t i = 0; i < replies.size(); ++i) {
        right += replies[i] && std::string((*replies[i])->str) == list[i][1] ? 1 : 0;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(right, 3'000);
  redis.kill();
  for (const auto& reply : pool.commands({{"PING"}, {"PING"}})) {
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::kUnavailable);
  }
}

TEST(RedisUrl, NamesSocketsAndHosts) {
  EXPECT_EQ(parse_redis_url("unix:///run/redis.sock")->socket_path, "/run/redis.sock");
  const auto full = parse_redis_url("redis://me:secret@db.example:7000/3");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->host, "db.example");
  EXPECT_EQ(full->port, 7000);
  EXPECT_EQ(full->database, 3);
  EXPECT_EQ(full->user, "me");
  EXPECT_EQ(full->password, "secret");
  EXPECT_EQ(full->name, "redis://db.example:7000/3") << "a password is never printed";
  EXPECT_EQ(parse_redis_url("redis://:secret@h")->password, "secret");
  EXPECT_EQ(parse_redis_url("redis://h")->port, 6379);
}

TEST(RedisUrl, RefusesWhatItDoesNotKnow) {
  for (const char* url : {"", "http://h", "unix://", "redis://", "redis://h:0", "redis://h:x",
                          "redis://h/x", "rediss://h"}) {
    const auto address = parse_redis_url(url);
    ASSERT_FALSE(address) << url;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalidArgument) << url;
  }
}

}  // namespace
}  // namespace tunefleet::coordinator

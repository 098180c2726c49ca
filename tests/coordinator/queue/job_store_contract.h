#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "tests/coordinator/queue/redis_server.h"

namespace tunefleet::coordinator {

enum class StoreKind { kMemory, kRedis };

inline const Placement kPlacement{{.host = "host-a", .ranks = 2}, {.host = "host-b", .ranks = 1}};

/// What every JobStore promises, asked of both.
class JobStoreContract : public testing::TestWithParam<StoreKind> {
 protected:
  JobStoreContract() {
    if (GetParam() == StoreKind::kMemory) {
      store_ =
          make_memory_job_store([now = int64_t{1'700'000'000'000}]() mutable { return ++now; });
      return;
    }
    redis_ = std::make_unique<RedisServer>();
    auto store = open_redis_job_store(redis_->url());
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
  }

  JobRecord submit(const std::string& name, int64_t priority = 0, const std::string& owner = "ann",
                   JobPhase phase = JobPhase::kQueued) {
    const auto job = store_->create(JobRecord{.id = "ftjob-" + name,
                                              .owner = owner,
                                              .phase = phase,
                                              .priority = priority,
                                              .workers = 4,
                                              .min_workers = 2,
                                              .max_workers = 4,
                                              .spec = {{"model", "m"}, {"seed", 42}},
                                              .request = {{"metadata", {{"team", "x"}}}}},
                                    "");
    EXPECT_TRUE(job) << job.error().message;
    return *job;
  }

  Result<JobStanding> start(const std::string& id, int64_t attempt = 0) {
    return store_->transition(id, attempt, JobPhase::kQueued, JobPhase::kRunning,
                              {.placement = kPlacement, .event_message = "Started"});
  }

  Result<JobRecord> ask(const std::string& id, StopReason reason, int64_t leader = 0) {
    return store_->request_stop(id, reason, "", leader);
  }
  Result<JobRecord> cancel(const std::string& id) { return ask(id, StopReason::kCancel); }

  std::vector<std::string> messages(const std::string& id) {
    std::vector<std::string> texts;
    const auto page = store_->events_after(id, 0, 1000);
    for (const auto& event : page->events) texts.push_back(event.message);
    return texts;
  }

  std::unique_ptr<RedisServer> redis_;
  std::unique_ptr<JobStore> store_;
};

inline std::vector<std::string> ids(const std::vector<JobRecord>& jobs) {
  std::vector<std::string> list;
  for (const auto& job : jobs) list.push_back(job.id);
  return list;
}

template <typename T>
ErrorCode code_of(const Result<T>& result) {
  return result ? ErrorCode::kInternal : result.error().code;
}

}  // namespace tunefleet::coordinator

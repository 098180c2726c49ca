#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_store.h"
#include "tests/coordinator/queue/redis_server.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

enum class Kind { kMemory, kRedis };

/// What every SweepStore promises, asked of both.
class SweepStoreContract : public testing::TestWithParam<Kind> {
 protected:
  SweepStoreContract() {
    if (GetParam() == Kind::kMemory) {
      store_ = make_memory_sweep_store([] { return int64_t{1'700'000'000'000}; });
      return;
    }
    redis_ = std::make_unique<RedisServer>();
    store_ = open();
  }

  std::unique_ptr<SweepStore> open() {
    auto store = open_redis_sweep_store(redis_->url());
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }

  Result<SweepRecord> submit(const std::string& name, const std::string& owner = "ann") {
    return store_->create({.id = "ftsweep-" + name,
                           .owner = owner,
                           .plan = {{"metric", "loss"}},
                           .trials = nlohmann::json::array({{{"values", {{"lora_rank", 8}}}}}),
                           .request = {{"model", "m"}}});
  }

  std::unique_ptr<RedisServer> redis_;
  std::unique_ptr<SweepStore> store_;
};

std::vector<std::string> ids(const Result<std::vector<SweepRecord>>& sweeps) {
  std::vector<std::string> list;
  if (!sweeps) ADD_FAILURE() << sweeps.error().message;
  if (!sweeps) return list;
  for (const auto& sweep : *sweeps) list.push_back(sweep.id);
  return list;
}

TEST_P(SweepStoreContract, ANewSweepIsReadBackAsItWasStored) {
  const auto made = submit("one");
  ASSERT_TRUE(made) << made.error().message;
  const auto read = store_->get("ftsweep-one");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->owner, "ann");
  EXPECT_EQ(read->phase, SweepPhase::kRunning);
  EXPECT_GT(read->created_at_ms, 0);
  EXPECT_EQ(read->finished_at_ms, 0);
  EXPECT_EQ(read->plan, made->plan);
  EXPECT_EQ(read->trials.at(0).at("values").at("lora_rank"), 8);
  EXPECT_EQ(read->request["model"], "m");
}

TEST_P(SweepStoreContract, AnIdIsUsedOnce) {
  ASSERT_TRUE(submit("one"));
  const auto again = submit("one", "bob");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_EQ(store_->get("ftsweep-one")->owner, "ann");
}

TEST_P(SweepStoreContract, ListsAnOwnersNewestFirst) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(submit(name, *name == 'b' ? "bob" : "ann"));
  EXPECT_THAT(ids(store_->list("ann")), ElementsAre("ftsweep-c", "ftsweep-a"));
  EXPECT_THAT(ids(store_->list("bob")), ElementsAre("ftsweep-b"));
  EXPECT_THAT(ids(store_->list("nobody")), IsEmpty());
  EXPECT_THAT(ids(store_->unfinished()), ElementsAre("ftsweep-a", "ftsweep-b", "ftsweep-c"));
}

TEST_P(SweepStoreContract, MovesAlongItsArrowsOnly) {
  ASSERT_TRUE(submit("one"));
  EXPECT_EQ(store_->move("ftsweep-one", SweepPhase::kCancelled).error().code, ErrorCode::kConflict);
  ASSERT_TRUE(store_->move("ftsweep-one", SweepPhase::kCancelling));
  EXPECT_TRUE(store_->move("ftsweep-one", SweepPhase::kCancelling)) << "twice is once";
  EXPECT_EQ(store_->move("ftsweep-one", SweepPhase::kSucceeded).error().code, ErrorCode::kConflict);
  EXPECT_THAT(ids(store_->unfinished()), ElementsAre("ftsweep-one"));
  const auto ended = store_->move("ftsweep-one", SweepPhase::kCancelled);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->phase, SweepPhase::kCancelled);
  EXPECT_GT(ended->finished_at_ms, 0);
  EXPECT_THAT(ids(store_->unfinished()), IsEmpty());
  EXPECT_EQ(store_->move("ftsweep-one", SweepPhase::kRunning).error().code, ErrorCode::kConflict);
  EXPECT_THAT(ids(store_->list("ann")), ElementsAre("ftsweep-one"));
}

TEST_P(SweepStoreContract, KnowsNoOther) {
  EXPECT_EQ(store_->get("ftsweep-none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->move("ftsweep-none", SweepPhase::kFailed).error().code, ErrorCode::kNotFound);
}

TEST_P(SweepStoreContract, OutlivesTheProcessAndTheServer) {
  if (!redis_) GTEST_SKIP() << "the store in memory is not durable";
  ASSERT_TRUE(submit("one"));
  redis_->kill();
  EXPECT_EQ(store_->get("ftsweep-one").error().code, ErrorCode::kUnavailable);
  redis_->start();
  EXPECT_THAT(ids(open()->unfinished()), ElementsAre("ftsweep-one"));
}

INSTANTIATE_TEST_SUITE_P(Stores, SweepStoreContract, testing::Values(Kind::kMemory, Kind::kRedis),
                         [](const auto& info) {
                           return info.param == Kind::kMemory ? "Memory" : "Redis";
                         });

}  // namespace
}  // namespace tunefleet::coordinator

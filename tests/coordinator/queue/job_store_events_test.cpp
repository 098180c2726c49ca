#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/queue/job_store_contract.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_P(JobStoreContract, EventsAreNumberedWithoutGaps) {
  submit("one");
  for (int i = 2; i <= 30; ++i) {
    ASSERT_TRUE(store_->append_event("ftjob-one", 0, 0,
                                     {.level = "info",
                                      .type = "metrics",
                                      .message = "Step " + std::to_string(i),
                                      .data = {{"step", i}},
                                      .created_at_ms = 1000 + i}));
  }
  const auto page = store_->events_after("ftjob-one", 0, 100);
  ASSERT_TRUE(page) << page.error().message;
  ASSERT_THAT(page->events, SizeIs(30));
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(page->events[i].number, i + 1);
    EXPECT_EQ(*store_->event_number("ftjob-one", page->events[i].id), i + 1);
  }
  EXPECT_EQ(page->events[29].data["step"], 30);
  EXPECT_EQ(page->events[29].type, "metrics");
  EXPECT_EQ(page->events[29].created_at_ms, 1030);
}

TEST_P(JobStoreContract, EventsComeInPagesBothWays) {
  submit("one");
  for (int i = 2; i <= 5; ++i) ASSERT_TRUE(store_->append_event("ftjob-one", 0, 0, {}));
  const auto numbers = [](const Result<EventPage>& page) {
    std::vector<int64_t> list;
    for (const auto& event : page->events) list.push_back(event.number);
    return list;
  };
  const auto newest = store_->events_before("ftjob-one", 0, 2);
  EXPECT_THAT(numbers(newest), ElementsAre(5, 4));
  EXPECT_TRUE(newest->has_more);
  const auto older = store_->events_before("ftjob-one", 4, 9);
  EXPECT_THAT(numbers(older), ElementsAre(3, 2, 1));
  EXPECT_FALSE(older->has_more);
  EXPECT_THAT(numbers(store_->events_before("ftjob-one", 1, 9)), IsEmpty());
  const auto following = store_->events_after("ftjob-one", 2, 2);
  EXPECT_THAT(numbers(following), ElementsAre(3, 4));
  EXPECT_TRUE(following->has_more);
  EXPECT_THAT(numbers(store_->events_after("ftjob-one", 5, 9)), IsEmpty());
}

TEST_P(JobStoreContract, UnknownEventsAreNotFound) {
  submit("one");
  for (const char* id : {"", "ftevent-one-2", "ftevent-one-0", "ftevent-one-1x", "ftevent-two-1"}) {
    EXPECT_EQ(store_->event_number("ftjob-one", id).error().code, ErrorCode::kNotFound) << id;
  }
}

TEST_P(JobStoreContract, AnEventWithASourceNumberIsStoredOncePerAttempt) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  for (const int64_t number : {2, 1, 2, 1, 3}) {
    EXPECT_TRUE(store_->append_event("ftjob-one", 1, number,
                                     {.message = "rank event " + std::to_string(number)}));
  }
  EXPECT_THAT(messages("ftjob-one"), ElementsAre("Created fine-tuning job: ftjob-one", "Started",
                                                 "rank event 2", "rank event 1", "rank event 3"));
  EXPECT_EQ(store_->append_event("ftjob-one", 0, 4, {}).error().code, ErrorCode::kConflict);
}

TEST_P(JobStoreContract, ProgressIsThatOfTheCurrentAttempt) {
  submit("one");
  EXPECT_TRUE(store_->set_progress("ftjob-one", 0, {{"step", 1}}));
  EXPECT_TRUE(store_->get("ftjob-one")->progress.is_null()) << "it does not run yet";
  ASSERT_TRUE(start("ftjob-one"));
  EXPECT_TRUE(store_->set_progress("ftjob-one", 1, {{"step", 5}}));
  EXPECT_TRUE(store_->set_progress("ftjob-one", 0, {{"step", 9}}));
  EXPECT_TRUE(store_->set_progress("ftjob-none", 0, {{"step", 9}}));
  EXPECT_EQ(store_->get("ftjob-one")->progress["step"], 5);
  ASSERT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {}));
  ASSERT_TRUE(start("ftjob-one", 1));
  EXPECT_TRUE(store_->get("ftjob-one")->progress.is_null()) << "a new attempt starts afresh";
}

}  // namespace
}  // namespace tunefleet::coordinator

#include "tests/coordinator/queue/job_store_contract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST_P(JobStoreContract, ANewJobIsReadBackAsItWasStored) {
  const JobRecord made = submit("one", 7);
  const auto read = store_->get("ftjob-one");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->owner, "ann");
  EXPECT_EQ(read->phase, JobPhase::kQueued);
  EXPECT_EQ(read->attempt, 0);
  EXPECT_EQ(read->priority, 7);
  EXPECT_EQ(read->workers, 4);
  EXPECT_EQ(read->min_workers, 2);
  EXPECT_EQ(read->max_workers, 4);
  EXPECT_EQ(read->stop, StopReason::kNone);
  EXPECT_THAT(read->placement, IsEmpty());
  EXPECT_EQ(read->spec["seed"], 42);
  EXPECT_EQ(read->request["metadata"]["team"], "x");
  EXPECT_GT(read->created_at_ms, 0);
  EXPECT_EQ(read->created_at_ms, made.created_at_ms);
  EXPECT_EQ(read->finished_at_ms, 0);
  EXPECT_TRUE(read->result.is_null());
  EXPECT_FALSE(read->error);
  EXPECT_THAT(messages("ftjob-one"), ElementsAre("Created fine-tuning job: ftjob-one"));
}

TEST_P(JobStoreContract, AJobWithoutAnIdGetsOne) {
  const auto job = store_->create(JobRecord{.phase = JobPhase::kQueued}, "");
  ASSERT_TRUE(job);
  EXPECT_THAT(job->id, testing::MatchesRegex("ftjob-[A-Za-z0-9]+"));
  EXPECT_EQ(job->id.size(), 30U);
}

TEST_P(JobStoreContract, AnIdIsUsedOnce) {
  submit("one");
  EXPECT_EQ(code_of(store_->create(JobRecord{.id = "ftjob-one", .phase = JobPhase::kQueued}, "")),
            ErrorCode::kConflict);
}

TEST_P(JobStoreContract, ANewJobIsNotYetRunning) {
  EXPECT_EQ(code_of(store_->create(JobRecord{.id = "ftjob-x", .phase = JobPhase::kRunning}, "")),
            ErrorCode::kInvalidArgument);
}

TEST_P(JobStoreContract, AnIdempotencyKeyReturnsTheJobMadeWithIt) {
  const JobRecord job{.owner = "ann", .phase = JobPhase::kQueued};
  const auto first = store_->create(job, "key \r\n{1}");
  const auto again = store_->create(job, "key \r\n{1}");
  const auto other_key = store_->create(job, "key 2");
  const auto other_owner =
      store_->create(JobRecord{.owner = "bob", .phase = JobPhase::kQueued}, "key \r\n{1}");
  ASSERT_TRUE(first && again && other_key && other_owner);
  EXPECT_EQ(first->id, again->id);
  EXPECT_NE(first->id, other_key->id);
  EXPECT_NE(first->id, other_owner->id);
  EXPECT_THAT(messages(first->id), SizeIs(1));
}

TEST_P(JobStoreContract, UnknownJobsAreNotFound) {
  EXPECT_EQ(code_of(store_->get("ftjob-no")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(cancel("ftjob-no")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(start("ftjob-no")), ErrorCode::kNotFound);
  EXPECT_EQ(store_->append_event("ftjob-no", 0, 0, {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->events_after("ftjob-no", 0, 1).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->list("", "ftjob-no", 1).error().code, ErrorCode::kNotFound);
}

TEST_P(JobStoreContract, ListsNewestFirstInPages) {
  for (const char* name : {"a", "b", "c", "d"}) submit(name);
  const auto first = store_->list("", "", 3);
  ASSERT_TRUE(first);
  EXPECT_THAT(ids(first->jobs), ElementsAre("ftjob-d", "ftjob-c", "ftjob-b"));
  EXPECT_TRUE(first->has_more);
  const auto rest = store_->list("", "ftjob-b", 3);
  EXPECT_THAT(ids(rest->jobs), ElementsAre("ftjob-a"));
  EXPECT_FALSE(rest->has_more);
}

TEST_P(JobStoreContract, AnOwnerSeesOnlyTheirOwn) {
  submit("a", 0, "ann");
  submit("b", 0, "bob");
  EXPECT_THAT(ids(store_->list("bob", "", 9)->jobs), ElementsAre("ftjob-b"));
  EXPECT_THAT(ids(store_->list("eve", "", 9)->jobs), IsEmpty());
  EXPECT_EQ(store_->list("bob", "ftjob-a", 9).error().code, ErrorCode::kNotFound);
}

TEST_P(JobStoreContract, TheQueueIsOrderedByPriorityThenAge) {
  submit("low", -5);
  submit("a", 0);
  submit("b", 0);
  submit("high", 5);
  submit("unchecked", 9, "ann", JobPhase::kValidatingFiles);
  EXPECT_THAT(ids(*store_->queued()), ElementsAre("ftjob-high", "ftjob-a", "ftjob-b", "ftjob-low"));
}

TEST_P(JobStoreContract, EveryChangeOfWhatWaitsIsSeen) {
  submit("a", 0);
  submit("b", 0);
  EXPECT_THAT(ids(*store_->queued()), ElementsAre("ftjob-a", "ftjob-b"));
  ASSERT_TRUE(start("ftjob-a"));
  EXPECT_THAT(ids(*store_->queued()), ElementsAre("ftjob-b"));
  ASSERT_TRUE(store_->transition("ftjob-a", 1, JobPhase::kRunning, JobPhase::kQueued,
                                 {.not_before_ms = 77}));
  ASSERT_TRUE(store_->request_stop("ftjob-b", StopReason::kPause, "", 0));
  const auto again = store_->queued();
  ASSERT_THAT(ids(*again), ElementsAre("ftjob-a"));
  EXPECT_EQ((*again)[0].attempt, 1);
  EXPECT_EQ((*again)[0].not_before_ms, 77);
  EXPECT_EQ((*again)[0].spec, nlohmann::json::object()) << "a plan needs nothing of it";
  ASSERT_TRUE(store_->resume("ftjob-b"));
  EXPECT_THAT(ids(*store_->queued()), ElementsAre("ftjob-a", "ftjob-b"));
}

TEST_P(JobStoreContract, ARunGoesThroughItsPhases) {
  submit("one", 0, "ann", JobPhase::kValidatingFiles);
  ASSERT_TRUE(
      store_->transition("ftjob-one", 0, JobPhase::kValidatingFiles, JobPhase::kQueued, {}));
  const auto started = start("ftjob-one");
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_EQ(started->phase, JobPhase::kRunning);
  EXPECT_EQ(started->attempt, 1);
  EXPECT_EQ(started->stop, StopReason::kNone);
  const auto running = store_->get("ftjob-one");
  EXPECT_EQ(running->phase, JobPhase::kRunning);
  EXPECT_EQ(running->attempt, 1);
  EXPECT_EQ(running->placement, kPlacement);
  EXPECT_EQ(running->lead_host(), "host-a");
  EXPECT_EQ(running->workers, 3);
  EXPECT_GT(running->started_at_ms, 0);
  EXPECT_THAT(*store_->queued(), IsEmpty());
  EXPECT_THAT(ids(*store_->running()), ElementsAre("ftjob-one"));

  const auto ended = store_->transition(
      "ftjob-one", 1, JobPhase::kRunning, JobPhase::kSucceeded,
      {.result = nlohmann::json{{"step", 10}}, .event_message = "Done", .event_data = {{"n", 1}}});
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(ended->phase, JobPhase::kSucceeded);
  const auto done = store_->get("ftjob-one");
  EXPECT_THAT(done->placement, IsEmpty());
  EXPECT_GT(done->finished_at_ms, 0);
  EXPECT_EQ(done->result["step"], 10);
  EXPECT_THAT(*store_->running(), IsEmpty());
  EXPECT_THAT(messages("ftjob-one"), ElementsAre("Created fine-tuning job: ftjob-one",
                                                 "Job is queued", "Started", "Done"));
}

TEST_P(JobStoreContract, AFailureKeepsItsErrorAndItsRank) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  ASSERT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kFailed,
                                 {.error = Error{ErrorCode::kDataLoss, "torn \xff file"},
                                  .failure = nlohmann::json{{"rank", 1}},
                                  .event_level = "error",
                                  .event_message = "rank 1 failed"}));
  const auto job = store_->get("ftjob-one");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->error->code, ErrorCode::kDataLoss);
  EXPECT_THAT(job->error->message, HasSubstr("torn"));
  EXPECT_EQ(job->failure["rank"], 1);
  EXPECT_EQ(store_->events_before("ftjob-one", 0, 1)->events[0].level, "error");
}

TEST_P(JobStoreContract, OneStartWinsAndALaterAttemptFencesTheEarlier) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  EXPECT_EQ(code_of(start("ftjob-one")), ErrorCode::kConflict);
  ASSERT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {}));
  const auto second = start("ftjob-one", 1);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->attempt, 2);
  const auto late =
      store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kSucceeded, {});
  EXPECT_EQ(code_of(late), ErrorCode::kConflict);
  EXPECT_THAT(late.error().message, HasSubstr("attempt 2"));
}

TEST_P(JobStoreContract, NothingLeadsOutOfAFinalPhase) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  ASSERT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kFailed, {}));
  EXPECT_EQ(
      code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kSucceeded, {})),
      ErrorCode::kConflict);
  EXPECT_EQ(code_of(cancel("ftjob-one")), ErrorCode::kConflict);
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kFailed, JobPhase::kRunning, {})),
            ErrorCode::kInvalidArgument);
  EXPECT_THAT(messages("ftjob-one"), SizeIs(3));
}

TEST_P(JobStoreContract, ARetryKeepsWhatItHasLearned) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  const auto queued = store_->transition(
      "ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued,
      {.not_before_ms = 1'700'000'005'000,
       .excluded_hosts = std::vector<std::string>{"host-a", "host \"b\""},
       .failures = FailureCounts{.infrastructure = 2, .node = 1, .memory = 3, .since_ms = 5},
       .half_batch = true});
  ASSERT_TRUE(queued) << queued.error().message;
  const auto read = store_->get("ftjob-one");
  EXPECT_EQ(read->phase, JobPhase::kQueued);
  EXPECT_EQ(read->not_before_ms, 1'700'000'005'000);
  EXPECT_THAT(read->excluded_hosts, ElementsAre("host-a", "host \"b\""));
  EXPECT_EQ(read->failures,
            (FailureCounts{.infrastructure = 2, .node = 1, .memory = 3, .since_ms = 5}));
  EXPECT_TRUE(read->half_batch);
  EXPECT_GE(read->device_ms, 0);
  ASSERT_TRUE(start("ftjob-one", 1));
  EXPECT_THAT(store_->get("ftjob-one")->excluded_hosts, SizeIs(2));
}

TEST_P(JobStoreContract, TheTimeOfTheNewestWaitingIsKept) {
  const auto pass_time = [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  const JobRecord made = submit("one");
  EXPECT_EQ(made.queued_at_ms, made.created_at_ms);
  EXPECT_EQ(submit("two", 0, "ann", JobPhase::kValidatingFiles).queued_at_ms, 0);
  pass_time();
  ASSERT_TRUE(start("ftjob-one"));
  const auto again = store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {});
  ASSERT_TRUE(again) << again.error().message;
  const auto waiting = store_->get("ftjob-one");
  EXPECT_GT(waiting->queued_at_ms, made.queued_at_ms);
  EXPECT_EQ(waiting->created_at_ms, made.created_at_ms);
  EXPECT_EQ(store_->request_stop("ftjob-one", StopReason::kPause, "", 0)->queued_at_ms,
            waiting->queued_at_ms);
  pass_time();
  const auto resumed = store_->resume("ftjob-one");
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_GT(resumed->queued_at_ms, waiting->queued_at_ms);
  EXPECT_EQ(store_->get("ftjob-one")->queued_at_ms, resumed->queued_at_ms);
}

TEST_P(JobStoreContract, TheJobsOfAGroupAreFoundTogether) {
  for (const char* name : {"b", "a"}) {
    ASSERT_TRUE(store_->create(
        JobRecord{
            .id = std::string("ftjob-") + name, .group = "sweep-1", .phase = JobPhase::kQueued},
        ""));
  }
  submit("other");
  EXPECT_THAT(ids(*store_->in_group("sweep-1")), ElementsAre("ftjob-b", "ftjob-a"));
  EXPECT_EQ(store_->get("ftjob-a")->group, "sweep-1");
  EXPECT_THAT(*store_->in_group("sweep-2"), IsEmpty());
}

TEST_P(JobStoreContract, OneProcessLeadsAtATime) {
  const auto first = store_->lead("host-a:/data", "p1", 60'000);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->generation, 1);
  EXPECT_EQ(store_->lead("host-a:/data", "p1", 60'000)->generation, 1) << "renewed";
  const auto refused = store_->lead("host-b:/data", "p2", 60'000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kConflict);
  EXPECT_THAT(refused.error().message, HasSubstr("host-a:/data"));
  EXPECT_EQ(store_->lead("host-a:/data", "p3", 60'000)->generation, 2) << "p1 must be dead";
  ASSERT_TRUE(store_->resign("p1"));
  EXPECT_FALSE(store_->lead("host-b:/data", "p2", 60'000)) << "p1 does not lead any more";
  ASSERT_TRUE(store_->resign("p3"));
  EXPECT_EQ(store_->lead("host-b:/data", "p2", 60'000)->generation, 3);
}

TEST_P(JobStoreContract, AnEarlierLeaderChangesNothing) {
  submit("one");
  ASSERT_TRUE(store_->lead("a", "p1", 60'000));
  ASSERT_TRUE(store_->resign("p1"));
  ASSERT_TRUE(store_->lead("b", "p2", 60'000));
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 0, JobPhase::kQueued, JobPhase::kRunning,
                                       {.leader = 1})),
            ErrorCode::kPermissionDenied);
  ASSERT_TRUE(
      store_->transition("ftjob-one", 0, JobPhase::kQueued, JobPhase::kRunning, {.leader = 2}));
  EXPECT_EQ(code_of(ask("ftjob-one", StopReason::kPreempt, 1)), ErrorCode::kPermissionDenied);
  EXPECT_EQ(store_->get("ftjob-one")->stop, StopReason::kNone);
  EXPECT_TRUE(ask("ftjob-one", StopReason::kPreempt, 2));
}

TEST_P(JobStoreContract, OfManyStartsAtOnceExactlyOneWins) {
  submit("one");
  std::atomic<int> won = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { won += start("ftjob-one") ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(store_->get("ftjob-one")->attempt, 1);
}

INSTANTIATE_TEST_SUITE_P(Memory, JobStoreContract, testing::Values(StoreKind::kMemory));
INSTANTIATE_TEST_SUITE_P(Redis, JobStoreContract, testing::Values(StoreKind::kRedis));

}  // namespace
}  // namespace tunefleet::coordinator

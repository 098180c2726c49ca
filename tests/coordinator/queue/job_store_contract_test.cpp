#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "coordinator/queue/job_rules.h"
#include "coordinator/queue/job_store.h"
#include "tests/coordinator/queue/redis_server.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

enum class Kind { kMemory, kRedis };

const Placement kPlacement{{.host = "host-a", .ranks = 2}, {.host = "host-b", .ranks = 1}};

/// What every JobStore promises, asked of both.
class JobStoreContract : public testing::TestWithParam<Kind> {
 protected:
  JobStoreContract() {
    if (GetParam() == Kind::kMemory) {
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

std::vector<std::string> ids(const std::vector<JobRecord>& jobs) {
  std::vector<std::string> list;
  for (const auto& job : jobs) list.push_back(job.id);
  return list;
}

template <typename T>
ErrorCode code_of(const Result<T>& result) {
  return result ? ErrorCode::kInternal : result.error().code;
}

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

TEST_P(JobStoreContract, AWaitingJobIsCancelledAtOnce) {
  submit("queued");
  submit("validating", 0, "ann", JobPhase::kValidatingFiles);
  for (const char* id : {"ftjob-queued", "ftjob-validating"}) {
    const auto job = cancel(id);
    ASSERT_TRUE(job) << job.error().message;
    EXPECT_EQ(job->phase, JobPhase::kCancelled);
    EXPECT_GT(job->finished_at_ms, 0);
  }
  EXPECT_THAT(*store_->queued(), IsEmpty());
}

TEST_P(JobStoreContract, ARunningJobIsMarkedAndItsCancelIsNotLost) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  ASSERT_TRUE(cancel("ftjob-one"));
  const auto again = cancel("ftjob-one");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->phase, JobPhase::kRunning);
  EXPECT_TRUE(again->cancel_requested());
  EXPECT_THAT(messages("ftjob-one"), SizeIs(3)) << "asked twice, told once";
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {})),
            ErrorCode::kConflict);
  EXPECT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kCancelled, {}));
}

TEST_P(JobStoreContract, AWaitingJobIsPausedAtOnceAndResumed) {
  submit("one");
  const auto paused = ask("ftjob-one", StopReason::kPause);
  ASSERT_TRUE(paused) << paused.error().message;
  EXPECT_EQ(paused->phase, JobPhase::kPaused);
  EXPECT_THAT(*store_->queued(), IsEmpty());
  ASSERT_TRUE(ask("ftjob-one", StopReason::kPause));
  const auto resumed = store_->resume("ftjob-one");
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_EQ(resumed->phase, JobPhase::kQueued);
  EXPECT_EQ(resumed->stop, StopReason::kNone);
  EXPECT_THAT(ids(*store_->queued()), ElementsAre("ftjob-one"));
  ASSERT_TRUE(store_->resume("ftjob-one")) << "nothing to resume is no error";
  EXPECT_THAT(messages("ftjob-one"),
              ElementsAre("Created fine-tuning job: ftjob-one", "The job is paused",
                          "The job was resumed and is queued"));
}

TEST_P(JobStoreContract, ARunningJobIsPausedWhenItsGangHasStopped) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  const auto asked = ask("ftjob-one", StopReason::kPause);
  ASSERT_TRUE(asked) << asked.error().message;
  EXPECT_EQ(asked->phase, JobPhase::kRunning);
  EXPECT_EQ(asked->stop, StopReason::kPause);
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {})),
            ErrorCode::kConflict)
      << "a pause is not lost to a retry";
  const auto paused = store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kPaused, {});
  ASSERT_TRUE(paused) << paused.error().message;
  EXPECT_EQ(paused->stop, StopReason::kNone);
  EXPECT_THAT(*store_->running(), IsEmpty());
  ASSERT_TRUE(cancel("ftjob-one"));
  EXPECT_EQ(store_->get("ftjob-one")->phase, JobPhase::kCancelled);
}

TEST_P(JobStoreContract, AStrongerReasonToStopReplacesAWeakerOneOnly) {
  submit("one");
  ASSERT_TRUE(start("ftjob-one"));
  EXPECT_EQ(ask("ftjob-one", StopReason::kPreempt)->stop, StopReason::kPreempt);
  EXPECT_EQ(ask("ftjob-one", StopReason::kResize)->stop, StopReason::kPreempt);
  EXPECT_EQ(ask("ftjob-one", StopReason::kPause)->stop, StopReason::kPause);
  EXPECT_EQ(store_->resume("ftjob-one")->stop, StopReason::kPreempt);
  EXPECT_EQ(cancel("ftjob-one")->stop, StopReason::kCancel);
  EXPECT_EQ(ask("ftjob-one", StopReason::kPause)->stop, StopReason::kCancel);
  EXPECT_EQ(code_of(store_->resume("ftjob-one")), ErrorCode::kConflict);
  EXPECT_THAT(messages("ftjob-one"), SizeIs(6));
}

TEST_P(JobStoreContract, AStopByASweepIsKeptApartFromAUsersCancel) {
  submit("one");
  submit("two");
  ASSERT_TRUE(start("ftjob-one"));
  EXPECT_EQ(ask("ftjob-one", StopReason::kPause)->stop, StopReason::kPause);
  const auto stopping = ask("ftjob-one", StopReason::kSweep);
  EXPECT_EQ(stopping->stop, StopReason::kSweep);
  EXPECT_TRUE(stopping->cancel_requested());
  EXPECT_EQ(code_of(store_->resume("ftjob-one")), ErrorCode::kConflict);
  EXPECT_EQ(code_of(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kQueued, {})),
            ErrorCode::kConflict);
  ASSERT_TRUE(store_->transition("ftjob-one", 1, JobPhase::kRunning, JobPhase::kCancelled, {}));
  EXPECT_EQ(store_->get("ftjob-one")->stop, StopReason::kSweep);
  EXPECT_EQ(ask("ftjob-two", StopReason::kSweep)->phase, JobPhase::kCancelled);
  EXPECT_EQ(store_->get("ftjob-two")->stop, StopReason::kSweep);
}

TEST_P(JobStoreContract, OnlyARunningJobIsPreemptedAndOnlyAnUnfinishedOneStopped) {
  submit("one");
  submit("unchecked", 0, "ann", JobPhase::kValidatingFiles);
  EXPECT_EQ(code_of(ask("ftjob-one", StopReason::kPreempt)), ErrorCode::kConflict);
  EXPECT_EQ(code_of(ask("ftjob-unchecked", StopReason::kPause)), ErrorCode::kConflict);
  ASSERT_TRUE(cancel("ftjob-one"));
  for (const auto reason : {StopReason::kPreempt, StopReason::kPause, StopReason::kCancel}) {
    EXPECT_EQ(code_of(ask("ftjob-one", reason)), ErrorCode::kConflict);
  }
  EXPECT_EQ(code_of(store_->resume("ftjob-one")), ErrorCode::kConflict);
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

INSTANTIATE_TEST_SUITE_P(Memory, JobStoreContract, testing::Values(Kind::kMemory));
INSTANTIATE_TEST_SUITE_P(Redis, JobStoreContract, testing::Values(Kind::kRedis));

}  // namespace
}  // namespace tunefleet::coordinator

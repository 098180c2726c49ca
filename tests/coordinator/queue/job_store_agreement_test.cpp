#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "coordinator/queue/job_rules.h"
#include "coordinator/queue/job_store.h"
#include "tests/coordinator/queue/redis_server.h"

namespace tunefleet::coordinator {
namespace {

constexpr JobPhase kPhases[] = {
    JobPhase::kValidatingFiles, JobPhase::kQueued, JobPhase::kRunning,  JobPhase::kPaused,
    JobPhase::kSucceeded,       JobPhase::kFailed, JobPhase::kCancelled};
constexpr StopReason kReasons[] = {StopReason::kResize, StopReason::kPreempt, StopReason::kPause,
                                   StopReason::kSweep, StopReason::kCancel};

/// What two stores must agree on: everything but times, and the words of an error.
std::string text_of(const Result<JobRecord>& result) {
  if (!result) return "error " + std::string(error_code_name(result.error().code));
  nlohmann::json text{{"id", result->id},
                      {"phase", phase_name(result->phase)},
                      {"attempt", result->attempt},
                      {"workers", result->workers},
                      {"placement", to_json(result->placement)},
                      {"stop", stop_reason_name(result->stop)},
                      {"excluded", result->excluded_hosts},
                      {"infrastructure", result->failures.infrastructure},
                      {"finished", result->finished_at_ms > 0}};
  return text.dump();
}

std::string text_of(const Result<JobStanding>& result) {
  if (!result) return "error " + std::string(error_code_name(result.error().code));
  return fmt::format("{} {} {} ", phase_name(result->phase), result->attempt,
                     stop_reason_name(result->stop));
}

std::string text_of(const Result<EventPage>& page) {
  std::string text;
  for (const auto& event : page->events) {
    text += std::to_string(event.number) + " " + event.level + " " + event.message + "\n";
  }
  return text;
}

/// One thing asked of a store about one of the jobs from number `first` on, drawn from `random` so
/// that both are asked the same; what it answers.
std::string ask(JobStore& store, std::mt19937_64& random, int first) {
  const auto pick = [&random](size_t n) { return static_cast<size_t>(random() % n); };
  const std::string id = "ftjob-" + std::to_string(static_cast<size_t>(first) + pick(3));
  const auto known = store.get(id);
  const size_t what = pick(10);
  if (what == 0 || !known) {
    return text_of(store.create({.id = id,
                                 .owner = "ann",
                                 .phase = kPhases[pick(2)],
                                 .priority = static_cast<int64_t>(pick(3)),
                                 .workers = 4,
                                 .min_workers = 2,
                                 .max_workers = 4},
                                ""));
  }
  if (what < 3) return text_of(store.request_stop(id, kReasons[pick(4)], "", pick(4) == 0 ? 7 : 0));
  if (what == 3) return text_of(store.resume(id));
  TransitionChange change{.leader = pick(8) == 0 ? 7 : 0};
  if (pick(2) == 0)
    change.placement = Placement{{.host = "a", .ranks = 2}, {.host = "b", .ranks = 1}};
  if (pick(3) == 0) change.excluded_hosts = std::vector<std::string>{"b"};
  if (pick(3) == 0)
    change.failures = FailureCounts{.infrastructure = static_cast<int64_t>(pick(5))};
  const bool right = pick(4) != 0;
  const JobPhase from = right ? known->phase : kPhases[pick(std::size(kPhases))];
  const auto moved = store.transition(id, right ? known->attempt : known->attempt + 1, from,
                                      kPhases[pick(std::size(kPhases))], change);
  return text_of(moved) + text_of(store.get(id));
}

TEST(JobStores, AgreeOnWhateverIsAskedOfThem) {
  const auto seed = static_cast<uint64_t>(std::random_device{}());
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  RedisServer server;
  const auto redis = open_redis_job_store(server.url());
  ASSERT_TRUE(redis) << redis.error().message;
  const auto memory = make_memory_job_store([] { return int64_t{1'700'000'000'000}; });
  std::mt19937_64 here(seed);
  std::mt19937_64 there(seed);
  constexpr int kQuestions = 3'000;
  constexpr int kQuestionsPerJob = 20;  // Most jobs have ended by then.
  for (int i = 0; i < kQuestions; ++i) {
    const int first = i / kQuestionsPerJob;
    ASSERT_EQ(ask(*memory, here, first), ask(**redis, there, first)) << "question " << i;
  }
  const auto all = memory->list("", "", 1'000);
  for (const JobRecord& job : all->jobs) {
    const std::string& id = job.id;
    EXPECT_EQ(text_of(memory->events_after(id, 0, 10'000)),
              text_of((*redis)->events_after(id, 0, 10'000)));
  }
  const auto ids = [](const Result<std::vector<JobRecord>>& jobs) {
    std::string text;
    for (const JobRecord& job : *jobs) text += job.id + " ";
    return text;
  };
  EXPECT_EQ(ids(memory->queued()), ids((*redis)->queued()));
  EXPECT_EQ(ids(memory->running()), ids((*redis)->running()));
}

}  // namespace
}  // namespace tunefleet::coordinator

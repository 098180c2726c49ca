#include "coordinator/scheduler/retry_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kNow = 1'700'000'000'000;

AttemptFailure failure(ErrorCode code, bool launch = false, const std::string& message = "") {
  return {.code = code, .host = "host-a", .launch = launch, .message = message};
}

TEST(FailureClasses, AreToldApartByCodeAndWords) {
  EXPECT_EQ(class_of(failure(ErrorCode::kInvalidArgument)), FailureClass::kUser);
  EXPECT_EQ(class_of(failure(ErrorCode::kNotFound)), FailureClass::kUser);
  EXPECT_EQ(class_of(failure(ErrorCode::kResourceExhausted)), FailureClass::kMemory);
  EXPECT_EQ(class_of(failure(ErrorCode::kUnavailable)), FailureClass::kInfrastructure);
  EXPECT_EQ(class_of(failure(ErrorCode::kTimeout)), FailureClass::kInfrastructure);
  EXPECT_EQ(class_of(failure(ErrorCode::kUnavailable, true)), FailureClass::kNode);
  EXPECT_EQ(class_of(failure(ErrorCode::kInternal, false, "CUDA error: uncorrectable ECC error")),
            FailureClass::kNode);
  EXPECT_EQ(class_of(failure(ErrorCode::kCancelled, true)), FailureClass::kInfrastructure);
}

TEST(RetryPolicy, AUsersMistakeIsNotTriedAgain) {
  EXPECT_FALSE(decide_retry({}, failure(ErrorCode::kInvalidArgument), {}, kNow).again);
}

TEST(RetryPolicy, PausesDoubleUpToAMinute) {
  JobRecord job;
  std::vector<int64_t> delays;
  for (int i = 0; i < 9; ++i) {
    const auto decision = decide_retry(job, failure(ErrorCode::kUnavailable), {}, kNow + i);
    ASSERT_TRUE(decision.again);
    delays.push_back(decision.delay_ms);
    job.failures = decision.failures;
  }
  EXPECT_THAT(delays, ElementsAre(1'000, 2'000, 4'000, 8'000, 16'000, 32'000, 60'000, 60'000,
                                  60'000));
}

TEST(RetryPolicy, FailuresOfAnHourAreCounted) {
  JobRecord job{.failures = {.infrastructure = 60, .since_ms = kNow - 1000}};
  const auto refused = decide_retry(job, failure(ErrorCode::kUnavailable), {}, kNow);
  EXPECT_FALSE(refused.again);
  EXPECT_THAT(refused.words, HasSubstr("61 failures of the infrastructure"));
  job.failures.since_ms = kNow - 3'600'000;
  const auto fresh = decide_retry(job, failure(ErrorCode::kUnavailable), {}, kNow);
  EXPECT_TRUE(fresh.again);
  EXPECT_EQ(fresh.failures.infrastructure, 1);
  EXPECT_EQ(fresh.failures.since_ms, kNow);
}

TEST(RetryPolicy, ABadNodeIsAvoidedForAnHour) {
  JobRecord job{.excluded_hosts = {"host-b"}, .failures = {.since_ms = kNow - 1000}};
  const auto decision = decide_retry(job, failure(ErrorCode::kUnavailable, true), {}, kNow);
  EXPECT_TRUE(decision.again);
  EXPECT_THAT(decision.excluded_hosts, ElementsAre("host-b", "host-a"));
  job.failures.since_ms = kNow - 4'000'000;
  EXPECT_THAT(decide_retry(job, failure(ErrorCode::kUnavailable), {}, kNow).excluded_hosts,
              IsEmpty());
}

TEST(RetryPolicy, MemoryIsTriedOnceWithFewerRows) {
  JobRecord job{.spec = {{"per_device_train_batch_size", 4}}};
  const auto half = decide_retry(job, failure(ErrorCode::kResourceExhausted), {}, kNow);
  EXPECT_TRUE(half.again);
  EXPECT_TRUE(half.half_batch);
  EXPECT_THAT(half.words, HasSubstr("with 2 rows at once instead of 4"));
  job.half_batch = true;
  EXPECT_FALSE(decide_retry(job, failure(ErrorCode::kResourceExhausted), {}, kNow).again);
  job = JobRecord{.spec = {{"per_device_train_batch_size", 1}}};
  const auto single = decide_retry(job, failure(ErrorCode::kResourceExhausted), {}, kNow);
  EXPECT_FALSE(single.again);
  EXPECT_THAT(single.words, HasSubstr("one row at once already"));
}

}  // namespace
}  // namespace tunefleet::coordinator

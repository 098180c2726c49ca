#include "coordinator/scheduler/retry_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kHourMs = 60 * 60 * 1000;

/// Words of errors that one machine's hardware or driver is known for.
constexpr std::array<std::string_view, 6> kNodeWords{
    "CUDA error", "ECC error", "Xid", "NCCL WARN", "no space left on device", "Bus error"};

bool names_the_node(std::string_view message) {
  return std::ranges::any_of(
      kNodeWords, [message](std::string_view word) { return message.find(word) != message.npos; });
}

std::string ordinal(int64_t n) {
  const int64_t tens = n % 100;
  const int64_t ones = n % 10;
  if (ones == 1 && tens != 11) return fmt::format("{}st", n);
  if (ones == 2 && tens != 12) return fmt::format("{}nd", n);
  if (ones == 3 && tens != 13) return fmt::format("{}rd", n);
  return fmt::format("{}th", n);
}

int64_t delay_after(int64_t failures, const RetryLimits& limits) {
  int64_t delay = limits.first_delay_ms;
  for (int64_t i = 1; i < failures && delay < limits.longest_delay_ms; ++i) delay *= 2;
  return std::min(delay, limits.longest_delay_ms);
}

/// One more failure of a class of which `limit` are tried again.
RetryDecision counted(RetryDecision decision, int64_t FailureCounts::*which, int64_t limit,
                      std::string_view whose, const RetryLimits& limits) {
  const int64_t count = ++(decision.failures.*which);
  decision.again = count <= limit;
  decision.delay_ms = delay_after(count, limits);
  decision.words =
      decision.again
          ? fmt::format("trying again in {} s from the last checkpoint ({} failure of {})",
                        (decision.delay_ms + 999) / 1000, ordinal(count), whose)
          : fmt::format("not tried again: {} failures of {} within an hour", count, whose);
  return decision;
}

/// The counts, begun anew when the last count began more than an hour ago. Memory is not forgotten.
FailureCounts of_this_hour(const FailureCounts& failures, int64_t now_ms) {
  if (failures.since_ms != 0 && now_ms - failures.since_ms < kHourMs) return failures;
  return {.memory = failures.memory, .since_ms = now_ms};
}

int64_t rows_at_once(const JobRecord& job) {
  const auto found = job.spec.find("per_device_train_batch_size");
  return found != job.spec.end() && found->is_number_integer() ? found->get<int64_t>() : 1;
}

RetryDecision after_memory(RetryDecision decision, const JobRecord& job) {
  ++decision.failures.memory;
  if (job.half_batch || rows_at_once(job) < 2) {
    decision.words = job.half_batch ? "not tried again: it was tried with half the rows at once"
                                    : "not tried again: it takes one row at once already";
    return decision;
  }
  decision.again = decision.half_batch = true;
  decision.words = fmt::format("trying again with {} rows at once instead of {}",
                               rows_at_once(job) / 2, rows_at_once(job));
  return decision;
}

}  // namespace

std::string_view failure_class_name(FailureClass failure) {
  switch (failure) {
    case FailureClass::kUser:
      return "user";
    case FailureClass::kMemory:
      return "memory";
    case FailureClass::kInfrastructure:
      return "infrastructure";
    case FailureClass::kNode:
      return "node";
  }
  return "user";
}

FailureClass class_of(const AttemptFailure& failure) {
  switch (failure.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kConflict:
      return failure.launch ? FailureClass::kNode : FailureClass::kUser;
    case ErrorCode::kResourceExhausted:
      return failure.launch ? FailureClass::kNode : FailureClass::kMemory;
    case ErrorCode::kCancelled:
      return FailureClass::kInfrastructure;  // The agent was asked to end, not the job.
    default:
      break;
  }
  if (failure.launch || names_the_node(failure.message)) return FailureClass::kNode;
  return FailureClass::kInfrastructure;
}

RetryDecision decide_retry(const JobRecord& job, const AttemptFailure& failure,
                           const RetryLimits& limits, int64_t now_ms) {
  RetryDecision decision{.failures = of_this_hour(job.failures, now_ms),
                         .half_batch = job.half_batch};
  const bool same_hour = decision.failures.since_ms == job.failures.since_ms;
  if (same_hour) decision.excluded_hosts = job.excluded_hosts;
  switch (class_of(failure)) {
    case FailureClass::kUser:
      return decision;
    case FailureClass::kMemory:
      return after_memory(std::move(decision), job);
    case FailureClass::kInfrastructure:
      return counted(std::move(decision), &FailureCounts::infrastructure, limits.infrastructure,
                     "the infrastructure", limits);
    case FailureClass::kNode:
      break;
  }
  auto& excluded = decision.excluded_hosts;
  if (!failure.host.empty() && std::ranges::find(excluded, failure.host) == excluded.end()) {
    excluded.push_back(failure.host);
  }
  return counted(std::move(decision), &FailureCounts::node, limits.node, "a node", limits);
}

}  // namespace tunefleet::coordinator

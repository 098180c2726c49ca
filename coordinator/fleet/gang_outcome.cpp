#include "coordinator/fleet/gang_outcome.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

nlohmann::json json_or_null(const std::string& text) {
  auto value = nlohmann::json::parse(text, nullptr, false);
  return value.is_discarded() ? nlohmann::json() : value;
}

/// JSON has no infinities: null instead.
nlohmann::json finite(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

nlohmann::json failure_json(int rank, const AttemptFailure& failure, std::string_view message) {
  return {{"rank", rank},
          {"host", failure.host},
          {"code", error_code_name(failure.code)},
          {"class", failure_class_name(class_of(failure))},
          {"message", message}};
}

/// Where a job that was asked to stop goes, however its gang ended.
GangOutcome stopped(const JobRecord& job, const std::string& remark) {
  GangOutcome outcome{.phase = phase_after_stop(job.stop)};
  std::string& message = outcome.change.event_message;
  switch (job.stop) {
    case StopReason::kSweep:
      message = fmt::format("The job was cancelled: stopped by sweep {}, which goes on without it",
                            job.group);
      break;
    case StopReason::kCancel:
      message = "The job was cancelled";
      break;
    case StopReason::kPause:
      message = "The job is paused; resume it to go on from its last checkpoint";
      break;
    case StopReason::kPreempt:
      message = "The job was preempted and is queued; it goes on from its last checkpoint";
      break;
    default:
      message = "The job is queued to go on with another number of ranks";
  }
  if (!remark.empty()) message += " (" + remark + ")";
  return outcome;
}

GangOutcome failed(const AttemptFailure& failure, nlohmann::json json, const std::string& why_not) {
  GangOutcome outcome{.phase = JobPhase::kFailed};
  outcome.change.error = Error{failure.code, failure.message};
  outcome.change.failure = std::move(json);
  outcome.change.event_level = "error";
  outcome.change.event_message = "The job failed: " + failure.message;
  if (!why_not.empty()) outcome.change.event_message += "; " + why_not;
  return outcome;
}

GangOutcome tried_again(const AttemptFailure& failure, const JobRecord& job, nlohmann::json json,
                        RetryDecision decision, int64_t now_ms) {
  GangOutcome outcome{.phase = JobPhase::kQueued};
  TransitionChange& change = outcome.change;
  change.not_before_ms = now_ms + decision.delay_ms;
  change.excluded_hosts = std::move(decision.excluded_hosts);
  change.failures = decision.failures;
  change.half_batch = decision.half_batch;
  change.event_level = "warn";
  change.event_message =
      fmt::format("Attempt {} ended: {}; {}", job.attempt, failure.message, decision.words);
  change.event_data = {{"attempt", job.attempt}, {"failure", json}};
  change.failure = std::move(json);
  return outcome;
}

GangOutcome after_failure(const AttemptFailure& failure, int rank, const std::string& words,
                          const JobRecord& job, const RetryLimits& limits, int64_t now_ms) {
  if (job.stop != StopReason::kNone) return stopped(job, failure.message);
  auto json = failure_json(rank, failure, words);
  auto decision = decide_retry(job, failure, limits, now_ms);
  if (!decision.again) return failed(failure, std::move(json), decision.words);
  return tried_again(failure, job, std::move(json), std::move(decision), now_ms);
}

}  // namespace

std::string failure_sentence(const wire::RankFailure& failure) {
  const std::string_view message = failure.message();
  if (failure.rank() < 0) return fmt::format("{}: {}", failure.host(), message);
  const std::string who = fmt::format("rank {} on {}", failure.rank(), failure.host());
  if (message.starts_with("killed by ") || message.starts_with("stopped by ")) {
    return fmt::format("{} was {}", who, message);
  }
  if (message.starts_with("exited with ")) return fmt::format("{} {}", who, message);
  return fmt::format("{} failed: {}", who, message);
}

GangOutcome outcome_of(const wire::GangEnded& ended, const JobRecord& job,
                       const AttemptFailure* condemned, const RetryLimits& limits, int64_t now_ms) {
  GangOutcome outcome;
  const auto& told = ended.failure();
  const bool as_asked =
      !ended.succeeded() && error_code_from_name(told.code()) == ErrorCode::kCancelled;
  if (job.cancel_requested() || (as_asked && job.stop != StopReason::kNone)) {
    outcome = stopped(job, "");
  } else if (ended.succeeded()) {
    outcome.phase = JobPhase::kSucceeded;
    outcome.change.event_message = "The job has successfully completed";
  } else if (condemned != nullptr) {
    outcome = outcome_of(*condemned, job, limits, now_ms);
  } else {
    const AttemptFailure failure{.code = error_code_from_name(told.code()),
                                 .host = told.host(),
                                 .launch = told.rank() < 0,
                                 .message = failure_sentence(told)};
    outcome = after_failure(failure, told.rank(), told.message(), job, limits, now_ms);
  }
  if (auto result = json_or_null(ended.result_json()); !result.is_null()) {
    outcome.change.result = std::move(result);
  }
  return outcome;
}

GangOutcome outcome_of(const AttemptFailure& failure, const JobRecord& job,
                       const RetryLimits& limits, int64_t now_ms) {
  return after_failure(failure, -1, failure.message, job, limits, now_ms);
}

AttemptFailure failure_of_need(GangNeed need, const std::string& host, const FleetTimes& times) {
  AttemptFailure failure{.code = ErrorCode::kUnavailable, .host = host, .launch = true};
  switch (need) {
    case GangNeed::kFailAgentLost:
      failure.message = fmt::format(
          "agent lost, nothing was heard from it for more than {} seconds; look at its machine: {}",
          (times.agent_dead + times.agent_lost_grace) / 1000, host);
      break;
    case GangNeed::kFailNotStarted:
      failure.message = fmt::format(
          "the agent did not start the job within {} seconds; look at the agent's log: {}",
          times.start_limit / 1000, host);
      break;
    default:
      failure.message = fmt::format(
          "the agent no longer runs the job and does not say how it ended; it was probably "
          "restarted: {}",
          host);
  }
  return failure;
}

nlohmann::json progress_of(const wire::RankBeat& beat) {
  return {{"rank", beat.rank()},
          {"world_size", beat.world_size()},
          {"host", beat.host()},
          {"pid", beat.pid()},
          {"phase", beat.phase()},
          {"step", beat.step()},
          {"max_steps", beat.max_steps()},
          {"loss", finite(beat.loss())},
          {"learning_rate", finite(beat.learning_rate())},
          {"tokens_per_s", finite(beat.tokens_per_s())},
          {"remaining_s", finite(beat.remaining_s())},
          {"resident_bytes", beat.resident_bytes()},
          {"device_bytes", beat.device_bytes()}};
}

}  // namespace tunefleet::coordinator

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

GangOutcome failed(ErrorCode code, std::string message, nlohmann::json failure) {
  GangOutcome outcome{.phase = JobPhase::kFailed};
  outcome.change.error = Error{code, message};
  outcome.change.failure = std::move(failure);
  outcome.change.event_level = "error";
  outcome.change.event_message = "The job failed: " + message;
  return outcome;
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

GangOutcome outcome_of(const wire::GangEnded& ended, bool cancel_requested) {
  GangOutcome outcome;
  if (cancel_requested) {
    outcome.phase = JobPhase::kCancelled;
    outcome.change.event_message = "The job was cancelled";
  } else if (ended.succeeded()) {
    outcome.phase = JobPhase::kSucceeded;
    outcome.change.event_message = "The job has successfully completed";
  } else {
    const auto& failure = ended.failure();
    outcome = failed(error_code_from_name(failure.code()), failure_sentence(failure),
                     {{"rank", failure.rank()},
                      {"host", failure.host()},
                      {"code", failure.code()},
                      {"message", failure.message()}});
  }
  if (auto result = json_or_null(ended.result_json()); !result.is_null()) {
    outcome.change.result = std::move(result);
  }
  return outcome;
}

GangOutcome outcome_of(GangNeed need, const GangState& gang, const FleetTimes& times) {
  std::string message;
  switch (need) {
    case GangNeed::kFailAgentLost:
      message = fmt::format(
          "agent lost, nothing was heard from it for {} seconds; look at its machine, then submit "
          "the job again: {}",
          (times.agent_dead + times.agent_lost_grace) / 1000, gang.host);
      break;
    case GangNeed::kFailNotStarted:
      message = fmt::format(
          "the agent did not start the job within {} seconds; look at the agent's log, then submit "
          "the job again: {}",
          times.start_limit / 1000, gang.host);
      break;
    default:
      message = fmt::format(
          "the agent no longer runs the job and does not say how it ended; it was probably "
          "restarted, submit the job again: {}",
          gang.host);
  }
  if (gang.cancel_requested) {
    GangOutcome outcome{.phase = JobPhase::kCancelled};
    outcome.change.event_message = "The job was cancelled (" + message + ")";
    return outcome;
  }
  const nlohmann::json failure{{"rank", -1},
                               {"host", gang.host},
                               {"code", error_code_name(ErrorCode::kUnavailable)},
                               {"message", message}};
  return failed(ErrorCode::kUnavailable, message, failure);
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

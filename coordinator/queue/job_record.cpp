#include "coordinator/queue/job_record.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr std::array<std::pair<JobPhase, std::string_view>, 7> kPhases{{
    {JobPhase::kValidatingFiles, "validating_files"},
    {JobPhase::kQueued, "queued"},
    {JobPhase::kRunning, "running"},
    {JobPhase::kPaused, "paused"},
    {JobPhase::kSucceeded, "succeeded"},
    {JobPhase::kFailed, "failed"},
    {JobPhase::kCancelled, "cancelled"},
}};

constexpr std::array<std::pair<StopReason, std::string_view>, 6> kStopReasons{{
    {StopReason::kNone, "none"},
    {StopReason::kResize, "resize"},
    {StopReason::kPreempt, "preempt"},
    {StopReason::kPause, "pause"},
    {StopReason::kSweep, "sweep"},
    {StopReason::kCancel, "cancel"},
}};

}  // namespace

std::string_view phase_name(JobPhase phase) {
  for (const auto& [value, name] : kPhases) {
    if (value == phase) return name;
  }
  return "failed";
}

Result<JobPhase> phase_from_name(std::string_view name) {
  for (const auto& [value, known] : kPhases) {
    if (known == name) return value;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("no such job status (validating_files, queued, running, paused, "
                          "succeeded, failed, cancelled): {}",
                          name));
}

bool is_final(JobPhase phase) {
  return phase == JobPhase::kSucceeded || phase == JobPhase::kFailed ||
         phase == JobPhase::kCancelled;
}

std::string_view stop_reason_name(StopReason reason) {
  for (const auto& [value, name] : kStopReasons) {
    if (value == reason) return name;
  }
  return "none";
}

Result<StopReason> stop_reason_from_name(std::string_view name) {
  for (const auto& [value, known] : kStopReasons) {
    if (known == name) return value;
  }
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("no such reason to stop (none, resize, preempt, pause, sweep, cancel): {}",
                  name));
}

JobPhase phase_after_stop(StopReason reason) {
  switch (reason) {
    case StopReason::kSweep:
    case StopReason::kCancel:
      return JobPhase::kCancelled;
    case StopReason::kPause:
      return JobPhase::kPaused;
    default:
      return JobPhase::kQueued;
  }
}

}  // namespace tunefleet::coordinator

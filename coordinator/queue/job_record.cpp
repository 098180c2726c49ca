#include "coordinator/queue/job_record.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr std::array<std::pair<JobPhase, std::string_view>, 6> kPhases{{
    {JobPhase::kValidatingFiles, "validating_files"},
    {JobPhase::kQueued, "queued"},
    {JobPhase::kRunning, "running"},
    {JobPhase::kSucceeded, "succeeded"},
    {JobPhase::kFailed, "failed"},
    {JobPhase::kCancelled, "cancelled"},
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
              fmt::format("no such job status (validating_files, queued, running, succeeded, "
                          "failed, cancelled): {}",
                          name));
}

bool is_final(JobPhase phase) {
  return phase == JobPhase::kSucceeded || phase == JobPhase::kFailed ||
         phase == JobPhase::kCancelled;
}

}  // namespace tunefleet::coordinator

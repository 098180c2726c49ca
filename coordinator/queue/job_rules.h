#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/queue/job_record.h"

namespace tunefleet::coordinator {

// The rules every store keeps, where they do not need the store. The Lua scripts check attempt and
// phase themselves, atomically; what is fixed about transitions stands here once.

/// Whether the state machine of JobPhase has an arrow from `from` to `to`.
bool is_transition(JobPhase from, JobPhase to);

/// What the event log says when the caller of a transition gives no text of its own.
std::string_view default_event_message(JobPhase to);

/// What the event log says when a running job is asked to stop.
inline constexpr std::string_view kCancelRequestedMessage =
    "Cancellation was requested; the ranks are being stopped";

/// A new job id: "ftjob-" and 24 characters from the system's random source (142 bits).
std::string new_job_id();

/// The id of a job's n-th event: "ftevent-<the job's characters>-<n>". Unique, and its number can
/// be read back.
std::string event_id(const std::string& job, int64_t number);
/// The number in an id made by event_id() for this job; nothing for any other text.
std::optional<int64_t> number_of_event(const std::string& job, const std::string& event_id);

/// How long a used idempotency key returns the job made with it.
inline constexpr int64_t kIdempotencyWindowMs = 10 * 60 * 1000;

}  // namespace tunefleet::coordinator

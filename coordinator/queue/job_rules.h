#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/queue/job_record.h"
#include "coordinator/queue/job_store.h"

namespace tunefleet::coordinator {

// The rules every store keeps. The Lua scripts say the same, atomically, in Redis; one contract
// suite holds both to it.

/// What is stored of a new job: what its creator chose of `asked`, with a new id unless it has one,
/// and nothing that only a job's later life sets. kInvalidArgument unless it starts as
/// validating_files or queued.
Result<JobRecord> new_job(const JobRecord& asked);
/// Sets the times of a job made by new_job() and stored at `now_ms`.
void set_created(JobRecord& job, int64_t now_ms);
/// The first line of a job's event log.
std::string created_message(const std::string& id);

/// Whether the state machine of JobPhase has an arrow from `from` to `to`.
bool is_transition(JobPhase from, JobPhase to);

/// What the event log says when the caller of a transition gives no text of its own.
std::string_view default_event_message(JobPhase to);
/// What the event log says when a running job is asked to stop, without a text of the caller's.
std::string_view default_stop_message(StopReason reason);
inline constexpr std::string_view kResumedMessage = "The job was resumed and is queued";
inline constexpr std::string_view kResumedEarlyMessage =
    "The job was resumed before its ranks had stopped; it goes on from their checkpoint";

/// The job after a transition at `now_ms`; errors as JobStore::transition says. Pure.
Result<JobRecord> after_transition(JobRecord job, int64_t attempt, JobPhase from, JobPhase to,
                                   const TransitionChange& change, int64_t now_ms);

/// The job after something was asked of it, and what the event log says; empty when nothing
/// changed.
struct Asked {
  JobRecord job{};
  std::string event_message{};
};
/// JobStore::request_stop and JobStore::resume as pure functions.
Result<Asked> after_stop_request(JobRecord job, StopReason reason, const std::string& message,
                                 int64_t now_ms);
Result<Asked> after_resume(JobRecord job, int64_t now_ms);

/// A new job id: "ftjob-" and 24 characters from the system's random source (142 bits).
std::string new_job_id();

/// The id of a job's n-th event: "ftevent-<the job's characters>-<n>". Unique, and its number can
/// be read back.
std::string event_id(const std::string& job, int64_t number);
/// The number in an id made by event_id() for this job; nothing for any other text.
std::optional<int64_t> number_of_event(const std::string& job, const std::string& event_id);

/// How long a used idempotency key returns the job made with it.
inline constexpr int64_t kIdempotencyWindowMs = 10 * 60 * 1000;

/// Ranks of a placement.
int64_t ranks_of(const Placement& placement);
nlohmann::json to_json(const Placement& placement);
/// The reverse; kDataLoss for anything else than to_json() makes.
Result<Placement> placement_from_json(const nlohmann::json& value);

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/queue/placement.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Where a job is, in OpenAI's words and one of ours. Stored by name.
///
///   validating_files -> queued <--------> running -> succeeded | failed
///          |            |    ^ (again: infrastructure, preempted, resized)
///          |            v    |              |
///          |            paused <------------+
///          v            v
///        failed     cancelled <---------- running
enum class JobPhase {
  kValidatingFiles,
  kQueued,
  kRunning,
  kPaused,
  kSucceeded,
  kFailed,
  kCancelled
};

std::string_view phase_name(JobPhase phase);
Result<JobPhase> phase_from_name(std::string_view name);
/// Succeeded, failed and cancelled are final: no transition leads out of them.
bool is_final(JobPhase phase);

/// What the gang of a running job has been asked to stop for. The ranks save before they leave, and
/// the job then goes where the reason says. A stronger reason replaces a weaker one, never the
/// other way round. Stored by name.
///   resize, preempt -> queued    pause -> paused    sweep, cancel -> cancelled
/// `sweep`: its sweep goes on without it; nobody asked for that job's end.
enum class StopReason { kNone, kResize, kPreempt, kPause, kSweep, kCancel };

std::string_view stop_reason_name(StopReason reason);
Result<StopReason> stop_reason_from_name(std::string_view name);
/// Where a job goes whose gang stopped for that reason; `reason` is not kNone.
JobPhase phase_after_stop(StopReason reason);

/// Failed attempts of a job that were tried again, by what was to blame (scheduler/retry_policy.h):
/// of memory all, of the others those since `since_ms`.
struct FailureCounts {
  int64_t infrastructure = 0;
  int64_t node = 0;
  int64_t memory = 0;
  int64_t since_ms = 0;
  bool operator==(const FailureCounts&) const = default;
};

/// One job as stored. A value. Times are Unix milliseconds by the store's clock; 0 = has not
/// happened.
struct JobRecord {
  std::string id{};     ///< "ftjob-" + 24 characters, made by the server.
  std::string owner{};  ///< The tenant whose key submitted it.
  std::string group{};  ///< Id of the sweep it belongs to; empty for none.
  JobPhase phase = JobPhase::kValidatingFiles;
  int64_t attempt = 0;  ///< Generation: starts so far. Fences every later message.
  int64_t priority = 0;
  int64_t workers = 1;      ///< Ranks of the newest attempt; before the first: max_workers.
  int64_t min_workers = 1;  ///< An elastic job runs on any number of ranks from here
  int64_t max_workers = 1;  ///< up to here; a fixed one has both equal.
  Placement placement{};    ///< Where it runs; empty unless running.
  StopReason stop = StopReason::kNone;  ///< Of the gang that runs; of a cancelled job why it was.
  int64_t not_before_ms = 0;  ///< A queued job that is to be tried again waits until then.
  std::vector<std::string> excluded_hosts{};  ///< Agents on which an attempt failed by their fault.
  FailureCounts failures{};
  bool half_batch = false;  ///< Memory ran out: half the rows at once, twice the accumulation.
  int64_t device_ms = 0;    ///< Ranks x time of all ended attempts.
  int64_t created_at_ms = 0;
  int64_t queued_at_ms = 0;   ///< The newest time it became queued.
  int64_t started_at_ms = 0;  ///< Of the newest attempt.
  int64_t finished_at_ms = 0;
  nlohmann::json spec{};  ///< The JobSpec, as the ranks get it (job.json).
  nlohmann::json
      request{};  ///< What the client sent, for what the API gives back (metadata, method, …).
  std::optional<Error> error{};  ///< Of a failed job.
  nlohmann::json
      failure{};  ///< {rank, host, code, message} of the rank that failed; null otherwise.
  nlohmann::json result{};    ///< result.json of a finished run; null before.
  nlohmann::json progress{};  ///< The newest RankBeat of rank 0 as JSON; null before.

  /// It is to end as cancelled, or has.
  bool cancel_requested() const { return stop >= StopReason::kSweep; }
  /// The agent that starts the gang; empty unless running.
  std::string lead_host() const { return placement.empty() ? std::string() : placement[0].host; }
};

/// One entry of a job's event log. Numbers are consecutive from 1: a gap is an error.
struct JobEventRecord {
  std::string id{};  ///< "ftevent-…", unique.
  int64_t number = 0;
  std::string level{};  ///< info | warn | error
  std::string type{};   ///< message | metrics | checkpoint
  std::string message{};
  nlohmann::json data{};  ///< null or an object
  int64_t created_at_ms = 0;
};

}  // namespace tunefleet::coordinator

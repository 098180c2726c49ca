#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// Where a job is, in OpenAI's words. Stored by name.
///
///   validating_files -> queued -> running -> succeeded | failed
///          |              |  ^------+  (a start that could not be made, or an infrastructure
///          failure retried)
///          +--> failed    +----> cancelled <---- running
enum class JobPhase { kValidatingFiles, kQueued, kRunning, kSucceeded, kFailed, kCancelled };

std::string_view phase_name(JobPhase phase);
Result<JobPhase> phase_from_name(std::string_view name);
/// Succeeded, failed and cancelled are final: no transition leads out of them.
bool is_final(JobPhase phase);

/// One job as stored. A value. Times are Unix milliseconds by the store's clock; 0 = has not
/// happened.
struct JobRecord {
  std::string id{};     ///< "ftjob-" + 24 characters, made by the server.
  std::string owner{};  ///< Id of the API key that submitted it.
  JobPhase phase = JobPhase::kValidatingFiles;
  int64_t attempt = 0;  ///< Generation: starts so far. Fences every later message.
  int64_t priority = 0;
  int64_t workers = 1;
  std::string agent{};  ///< Host that runs it; empty unless running.
  bool cancel_requested = false;
  int64_t created_at_ms = 0;
  int64_t started_at_ms = 0;
  int64_t finished_at_ms = 0;
  nlohmann::json spec{};  ///< The JobSpec, as the ranks get it (job.json).
  nlohmann::json
      request{};  ///< What the client sent, for what the API gives back (metadata, method, …).
  std::optional<Error> error{};  ///< Of a failed job.
  nlohmann::json
      failure{};  ///< {rank, host, code, message} of the rank that failed; null otherwise.
  nlohmann::json result{};    ///< result.json of a finished run; null before.
  nlohmann::json progress{};  ///< The newest RankBeat of rank 0 as JSON; null before.
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

#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "coordinator/queue/job_record.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Makes a job's run directory ready for its next attempt, `<jobs>/<job>/` with job.json in it, and
/// returns its absolute path. What an earlier attempt reported (exit/, result.json) is removed; its
/// checkpoints, logs and gang.json stay. Idempotent.
///
/// The job's id must be one of letters, digits, '-' and '_' (kInvalidArgument): it becomes a path.
/// Trouble with the directory is named, with storage::fail_os()'s codes.
Result<std::filesystem::path> prepare_run_directory(const std::filesystem::path& jobs_directory,
                                                    const JobRecord& job);

/// The JobSpec that a job's next attempt runs by: its own, but a later attempt goes on from the
/// newest checkpoint where there is one (which brings its adapters), and after memory ran out each
/// rank takes half the rows at once (or the next equal part) in more passes: a step still trains on
/// the same rows.
nlohmann::json attempt_spec(const JobRecord& job, bool has_checkpoint);

}  // namespace tunefleet::coordinator

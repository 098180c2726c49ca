#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// Makes a job's run directory ready for a start, `<jobs>/<job>/` with job.json in it, and returns
/// its absolute path. What an earlier attempt reported (exit/, result.json) is removed; its
/// checkpoints, logs and gang.json stay. Idempotent.
///
/// `job` must be an id of letters, digits, '-' and '_' (kInvalidArgument): it becomes a path.
/// Trouble with the directory is named, with storage::fail_os()'s codes.
Result<std::filesystem::path> prepare_run_directory(const std::filesystem::path& jobs_directory,
                                                    const std::string& job,
                                                    const nlohmann::json& spec);

}  // namespace tunefleet::coordinator

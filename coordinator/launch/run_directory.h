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
/// kResourceExhausted when the disk is full, kUnavailable for other trouble with the directory;
/// both name it.
Result<std::filesystem::path> prepare_run_directory(const std::filesystem::path& jobs_directory,
                                                    const std::string& job,
                                                    const nlohmann::json& spec);

/// Writes `text` to `path` so that a reader sees the old file or the whole new one, also after a
/// crash: written aside with mode `mode`, synced, renamed. Errors as above.
Status write_file_atomically(const std::filesystem::path& path, const std::string& text,
                             unsigned mode = 0644);

}  // namespace tunefleet::coordinator

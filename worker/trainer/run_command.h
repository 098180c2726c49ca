#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::trainer {

struct RunRequest {
  std::filesystem::path job;          ///< job.yaml or job.json
  std::filesystem::path output_dir;   ///< Empty: the job's output_dir, else output/<model>.
  std::vector<std::string> settings;  ///< "key=value", over the file's.
};

/// Trains: one rank of a run that mpirun or srun started, or the whole run alone. Returns the
/// process's exit code: 0 done, 2 the user's input is wrong, 3 the machine failed, 143 stopped by a
/// signal after saving. Errors are logged, and written to exit/<rank>.error.json in the output
/// directory.
int run_training(const RunRequest& request);

/// 2 for what the user must change, 3 for everything else.
int exit_code_of(const Error& error);

}  // namespace tunefleet::trainer

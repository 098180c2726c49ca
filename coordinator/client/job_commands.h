#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

/// Commands about jobs that are there: one call of the API each, and its answer as a table.
namespace tunefleet::coordinator {

/// `tunefleet jobs`: the newest jobs as a table.
int run_jobs(int argc, char** argv);
/// `tunefleet watch JOB`: follows a job until it ends; see watch.h.
int run_watch(int argc, char** argv);
/// `tunefleet logs JOB`: what the ranks have printed.
int run_logs(int argc, char** argv);
/// `tunefleet cancel JOB`: stops a job; a running one saves a checkpoint first.
int run_cancel(int argc, char** argv);
/// `tunefleet pause JOB`: the same, but it can go on later.
int run_pause(int argc, char** argv);
/// `tunefleet resume JOB`: lets a paused job go on from its last checkpoint.
int run_resume(int argc, char** argv);

/// The table of `tunefleet jobs`; `now` in Unix seconds.
std::string jobs_table(const std::vector<nlohmann::json>& jobs, int64_t now);

}  // namespace tunefleet::coordinator

#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "coordinator/queue/job_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Finds the jobs that have ended since it last looked, from the job store alone: no other room has
/// to tell it, and what happened while nobody looked is found at the next look. One thread at a
/// time.
///
/// The cursor, <file>: {"newest": the newest job that was seen, "open": [jobs seen that had not
/// ended]}. A look reads the jobs made after `newest`, and of `open` those that neither wait nor
/// run any more.
class EndedJobs {
 public:
  using Visit = std::function<Status(const JobRecord& ended)>;

  /// Without the file every job of the store is new. kDataLoss for a file that is not ours.
  static Result<EndedJobs> open(JobStore& jobs, std::filesystem::path file);

  /// Hands over each job that has ended since, then stores the cursor. When `visit` or the store
  /// fails, the cursor stays and the next look hands the same jobs over again.
  Status look(const Visit& visit);
  /// Reads the cursor again: another process may have moved it.
  Status load();
  /// Forgets the cursor.
  Status reset();

 private:
  struct Cursor {
    std::string newest{};
    std::set<std::string> open{};
    bool operator==(const Cursor&) const = default;
  };

  EndedJobs(JobStore& jobs, std::filesystem::path file) : jobs_(&jobs), file_(std::move(file)) {}
  Status keep(Cursor next);
  Status look_at_new_jobs(const Visit& visit, Cursor& next) const;
  Status look_at_open_jobs(const Visit& visit, Cursor& next) const;
  Result<std::set<std::string>> unfinished() const;

  JobStore* jobs_;
  std::filesystem::path file_;
  Cursor cursor_;
};

}  // namespace tunefleet::coordinator

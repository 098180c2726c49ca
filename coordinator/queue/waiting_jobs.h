#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/queue/job_record.h"

namespace tunefleet::coordinator {

/// `job` with no more of what its author wrote than those need who look at the whole queue:
/// max_minutes and what it starts from of the spec, and the files in the request. Thousands are
/// copied each time.
JobRecord for_plan(JobRecord job);

/// Waiting jobs as they were last read, so that only those have to be read again that have changed.
/// A job's version is the number of its newest event: every transition tells one. A value.
class WaitingJobs {
 public:
  /// Which of `ids` were not read yet in their version; `versions` are in the same order.
  std::vector<std::string> changed(const std::vector<std::string>& ids,
                                   const std::vector<std::string>& versions) const;
  void take(const std::string& version, JobRecord job);
  /// Those of `ids` that wait, in that order; forgets all others.
  std::vector<JobRecord> settle(const std::vector<std::string>& ids);

 private:
  struct Read {
    std::string version{};
    JobRecord job{};
  };
  std::unordered_map<std::string, Read> read_;  ///< By id.
};

}  // namespace tunefleet::coordinator

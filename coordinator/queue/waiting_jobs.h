#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/queue/job_record.h"

namespace tunefleet::coordinator {

/// `job` with no more of what its author wrote than those need who look at the whole queue:
/// max_minutes and what it starts from of the spec, and the files in the request. Thousands are
/// copied each time.
JobRecord for_plan(JobRecord job);

/// Waiting jobs as they were last read. While a job waits it stays as it is: only those that came
/// to the queue, or left it and came back, have to be read again. A value.
class WaitingJobs {
 public:
  /// The job came back to the queue since it was read.
  void forget(const std::string& id) { read_.erase(id); }
  void forget_all() { read_.clear(); }
  /// Which of `ids` are not known.
  std::vector<std::string> unknown(const std::vector<std::string>& ids) const;
  void take(JobRecord job);
  /// Those of `ids` that wait, in that order; forgets all others.
  std::vector<JobRecord> settle(const std::vector<std::string>& ids);

 private:
  struct Read {
    JobRecord job{};
    int64_t settled = 0;  ///< The settling it was last among the ids of.
  };
  std::unordered_map<std::string, Read> read_;  ///< By id.
  int64_t settled_ = 0;
};

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_record.h"
#include "coordinator/sweep/sweep_controller.h"

namespace tunefleet::coordinator {

/// The id of the job of a sweep's n-th trial. It follows from both, so that a job is made once
/// however often that is tried.
std::string trial_job_id(const std::string& sweep, size_t trial);

/// The job of the n-th trial, as it is submitted.
JobRecord trial_job(const SweepRecord& sweep, size_t trial);

/// What the store says of a sweep's trials. Remembers which events it has read: what it knows
/// follows from the store alone. One thread at a time.
class TrialReader {
 public:
  explicit TrialReader(JobStore& jobs) : jobs_(jobs) {}

  /// By index; errors are the store's.
  Result<std::vector<Trial>> read(const SweepRecord& sweep, const SweepPlan& plan);
  /// Forgets the events of all other sweeps.
  void keep_only(const std::vector<SweepRecord>& sweeps);

 private:
  struct Known {
    int64_t events = 0;  ///< Number of the newest that was read.
    std::map<int64_t, double> metrics{};
  };
  Status read_events(const std::string& job, const std::string& metric, Known& known);

  JobStore& jobs_;
  std::map<std::string, std::map<std::string, Known>> known_;  ///< By sweep, by job.
};

}  // namespace tunefleet::coordinator

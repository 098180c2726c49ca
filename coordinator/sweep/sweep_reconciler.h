#pragma once

#include <functional>
#include <utility>

#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_store.h"
#include "coordinator/sweep/sweep_jobs.h"

namespace tunefleet::coordinator {

/// Makes the queue match what decide() wants of the sweeps. Keeps nothing that the stores do not
/// hold, and every step may be made again: it can be stopped at any instant, and two may run at a
/// time. One thread.
class SweepReconciler {
 public:
  /// The stores outlive it. `wake` is called when the queue has changed.
  SweepReconciler(JobStore& jobs, SweepStore& sweeps, std::function<void()> wake)
      : jobs_(jobs), sweeps_(sweeps), wake_(std::move(wake)), reader_(jobs) {}

  /// Looks at every unfinished sweep once. The first error of a store; the rest is done next time.
  Status look();

 private:
  Status advance(const SweepRecord& sweep);
  Status carry_out(const SweepRecord& sweep, const SweepActions& actions);

  JobStore& jobs_;
  SweepStore& sweeps_;
  const std::function<void()> wake_;
  TrialReader reader_;
};

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "proto/step_count.h"
#include "worker/trainer/schedule.h"

namespace tunefleet::trainer {

/// The numbers of a run, derived from the job, the data and the number of ranks. A value.
struct RunPlan : StepCount {
  int64_t save_every = 0;      ///< Steps; 0: only at the end.
  int64_t evaluate_every = 0;  ///< Steps; 0: only before and after.
  Schedule schedule;

  double epoch_at(int64_t step) const {
    return static_cast<double>(step) / static_cast<double>(steps_per_epoch);
  }
};

/// `rows`: examples, or packs, to train on; at least 1.
RunPlan make_run_plan(const JobSpec& spec, int64_t rows, int64_t world_size);

}  // namespace tunefleet::trainer

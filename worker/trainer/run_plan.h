#pragma once

#include <cstdint>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "worker/trainer/schedule.h"

namespace tunefleet::trainer {

/// The numbers of a run, derived from the job, the data and the number of ranks. A value.
struct RunPlan {
  int64_t micro_batch = 1;   ///< Rows of one rank in one backward pass.
  int64_t accumulation = 1;  ///< Backward passes of a step; the last may have fewer rows.
  int64_t batch_total = 1;   ///< Rows of a step over all ranks.
  int64_t steps_per_epoch = 1;
  int64_t max_steps = 1;
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

#pragma once

#include <cstdint>

#include "proto/job_spec.h"

namespace tunefleet {

/// How a job's rows become steps: what the trainer runs, and what a plan of the job tells.
struct StepCount {
  int64_t micro_batch = 1;   ///< Rows of one rank in one backward pass.
  int64_t accumulation = 1;  ///< Backward passes of a step; the last may have fewer rows.
  int64_t batch_total = 1;   ///< Rows of a step over all ranks.
  int64_t steps_per_epoch = 1;
  int64_t max_steps = 1;
};

/// `rows`: examples, or packs, to train on; at least 1.
StepCount count_steps(const JobSpec& spec, int64_t rows, int64_t world_size);

/// Rows that split_dataset_ratio holds out of `rows`; at least one stays on each side.
int64_t held_out_rows(int64_t rows, double split_dataset_ratio);

}  // namespace tunefleet

#pragma once

#include <memory>
#include <vector>

#include "proto/job_spec.h"
#include "tuners/swift_model.h"
#include "worker/trainer/optimizer.h"

namespace tunefleet::trainer {

/// The trainable set in the optimizer's groups: rates as multiples of the job's learning_rate.
std::vector<OptimizerGroup> optimizer_groups(const tuners::SwiftModel& model, const JobSpec& spec);

/// The optimizer that the job's `optim`, `use_galore` and `galore_*` ask for, over what trains now.
/// Throws std::invalid_argument when galore_target_modules name no module whose weight trains.
std::unique_ptr<Optimizer> make_optimizer(const tuners::SwiftModel& model, const JobSpec& spec);

}  // namespace tunefleet::trainer

#pragma once

#include <filesystem>
#include <string_view>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/config/job_options.h"
#include "tuners/swift_model.h"

namespace tunefleet::trainer {

/// Holds the job's tuners against those that `key` (resume_from_checkpoint, adapters) has put on
/// the model, whose own options hold. kInvalidArgument where the job names a tuner of another kind
/// or, under `tuners`, one that is not there; options of the same tuner that differ are a warning.
/// What a run finds out itself (targets as names, total_step) is not compared.
Status check_stored_tuners(const JobSpec& spec, const tuners::NamedOptions& wanted,
                           const tuners::SwiftModel& swift, std::string_view key);

/// The same for the flat keys of a job that starts from `adapters`; kConflict when a new tuner of
/// the job has the name of one of them.
Status check_started_tuners(const JobSpec& spec, const tuners::RunFacts& facts,
                            const tuners::SwiftModel& swift);

/// kInvalidArgument when the checkpoint was made on another base than the one in `model`. The
/// weights are read only where the job names another model than the checkpoint's did.
Status check_base_of_checkpoint(const std::filesystem::path& checkpoint, const JobSpec& spec,
                                const std::filesystem::path& model);

}  // namespace tunefleet::trainer

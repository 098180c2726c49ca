#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/job_rules.h"
#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/config/tuner_options.h"

/// The tuners that a job asks for, by `tuner_type` and its flat keys or by `tuners`.
namespace tunefleet::tuners {

/// New tuners under the names they get on the model, in the order of adding.
using NamedOptions = std::vector<std::pair<std::string, TunerOptions>>;

/// What jobs leave to the base model and the run: the values of options that no job gives. The
/// defaults are fit for checking alone.
struct RunFacts {
  int64_t hidden_size = 1;                                  ///< dim and dims, where required.
  int64_t max_steps = std::numeric_limits<int32_t>::max();  ///< total_step
};

/// The new tuners of a job: those of its `tuners` by name, or one, "default" ("reft" for ReFT, as
/// ms-swift has it), that is tuner_type; then "neftune" when the job has neftune_noise_alpha. None
/// for tuner_type full alone, nor for tuner_type when the job starts from `adapters`. Where a tuner
/// acts is all-linear, or what suits it, unless said. kInvalidArgument with a line for each
/// problem: "tuners.style.rr: lora has no such option …".
Result<NamedOptions> tuner_options_of_job(const JobSpec& spec, const RunFacts& facts = {});

/// The same as a check for job readers (proto/job_spec_parser.h), with every problem at its key.
/// Sets the shared flat keys that are not `given` (lora_rank of LoHa) to the tuner's own defaults,
/// so that the spec says what is used.
std::vector<BrokenRule> check_tuners(JobSpec& spec, const std::set<std::string>& given);

}  // namespace tunefleet::tuners

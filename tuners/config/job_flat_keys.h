#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job_spec.h"
#include "tuners/config/tuner_schema.h"

/// The flat keys of a job (lora_rank, vera_rank, …), which are ms-swift's, as options of a tuner.
namespace tunefleet::tuners {

/// One flat key of a job that stands for an option of a tuner.
struct FlatKey {
  std::string_view job_key;  ///< "lora_rank"
  const TunerOption* option = nullptr;
};

/// What the job's flat keys are for this tuner: its own (vera_rank) and those that many share
/// (lora_rank is `r` wherever that is a rank). target_regex stands in target_modules' place.
std::vector<FlatKey> flat_keys(const TunerSchema& schema);

/// Sets the shared keys that are not `given` to the tuner's own defaults. LoRA and what derives
/// from it keep the job's defaults, which are ms-swift's.
void complete_flat_keys(const TunerSchema& schema, const std::set<std::string>& given,
                        JobSpec& spec);

/// Flat keys whose value is not the default and which `used` has not: they would be without effect.
std::vector<std::string_view> unused_flat_keys(const JobSpec& spec,
                                               const std::vector<FlatKey>& used);

/// The keys of this tuner that stand for what `job_key` is for others; empty when there are none:
/// vera_rank for lora_rank.
std::vector<std::string_view> own_keys_like(const TunerSchema& schema, std::string_view job_key);

}  // namespace tunefleet::tuners

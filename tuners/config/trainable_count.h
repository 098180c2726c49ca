#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/job_spec.h"
#include "proto/result.h"
#include "tuners/config/job_options.h"
#include "tuners/config/model_shapes.h"

/// How many numbers a job trains, without a tensor being made.
namespace tunefleet::tuners {

/// What one tuner trains.
struct TrainableCount {
  std::string name;                ///< As on the model: "default".
  std::string type;                ///< "lora", "full"
  std::optional<int64_t> numbers;  ///< Unset: only the trainer knows.
  std::string unknown;             ///< Why they are not known; empty when they are.
};

/// The numbers that the trainer will report as trainable_parameters, tuner by tuner, for a fresh
/// adapter. Tuners whose size follows from more than shapes are told as unknown, never guessed.
/// kInvalidArgument where the trainer would refuse the job: targets that match nothing, a rank
/// above a layer's size, a width that is no multiple of a block.
Result<std::vector<TrainableCount>> count_trainable(const JobSpec& spec, const ModelShapes& model);

/// The same of one tuner of a model.
Result<TrainableCount> count_trainable(const std::string& name, const TunerOptions& options,
                                       const ModelShapes& model);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/sweep/sweep_plan.h"

namespace tunefleet::coordinator {

/// What is wrong with the section `sweep` of a request.
struct SweepProblem {
  std::string path;  ///< "sweep.parameters.learning_rate.min"
  std::string message;
};

/// The section, read: keys of the job file with the values that each trial has for them.
struct SweepTemplate {
  SweepPlan plan;
  std::vector<nlohmann::json> trials;  ///< Objects: key -> value.
};

inline constexpr int64_t kMostTrials = 64;

/// Reads
///   {parameters: {key: [value, …] | {min, max, scale: linear|log, count}}, strategy: grid|random,
///    samples, seed, metric, halving: {eta, min_steps, max_steps} | null, max_parallel}
/// and draws the trials: with `grid` every combination, the last key changing fastest; with
/// `random` `samples` of them, ranges drawn continuously. Pure: the same section gives the same
/// trials. The keys themselves are for the job's reader to check.
tl::expected<SweepTemplate, SweepProblem> read_sweep_template(const nlohmann::json& section);

}  // namespace tunefleet::coordinator

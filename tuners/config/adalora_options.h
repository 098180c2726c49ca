#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's AdaLoraConfig; field names and defaults are the file's.
struct AdaloraOptions {
  int64_t r = 8;  ///< Has no meaning; a LoRA field that PEFT's files have.
  double lora_alpha = 8.0;
  double lora_dropout = 0.0;
  bool init_lora_weights = true;  ///< False: N(0, 1) throughout, not the identity.

  int64_t target_r = 8;                 ///< Mean rank of the modules at the end.
  int64_t init_r = 12;                  ///< Rank of every module at the start.
  int64_t tinit = 0;                    ///< Steps before ranks begin to fall.
  int64_t tfinal = 0;                   ///< Steps at the end in which ranks stay as they are.
  int64_t delta_t = 1;                  ///< `deltaT`: steps between two allocations.
  double beta1 = 0.85;                  ///< Of the running mean of the importance of every number.
  double beta2 = 0.85;                  ///< Of the running mean of its uncertainty.
  double orth_reg_weight = 0.5;         ///< Of the penalty that keeps A and B orthogonal.
  std::optional<int64_t> total_step{};  ///< Steps of the whole run; unset: the job's.
  JsonText rank_pattern{};              ///< What is left of each module: path -> list of bools.

  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const AdaloraOptions&) const = default;
  static const TunerSchema& schema();
};

/// Whether there is a step between the first and the last in which ranks can fall.
/// kInvalidArgument.
Status check_schedule(const AdaloraOptions& options, int64_t total_step);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's SCETuningConfig: small networks on the skip connections of a U-Net (SCEdit, Jiang et
/// al. 2023, arXiv:2312.11392). Field names and defaults are the file's.
struct SceTuningOptions {
  static const TunerSchema& schema();

  /// Channels that are tuned; one value, or one for each target in order.
  std::vector<int64_t> dims{};
  /// Whole paths in order, or an expression for whole paths. A list of modules stands for its last.
  ModuleNames target_modules{};
  std::string tuner_mode = "decoder";  ///< decoder | encoder | identity (as encoder)
  std::string tuner_op = "SCEAdapter";
  double down_ratio = 1.0;  ///< Width of the small network over dims.

  bool operator==(const SceTuningOptions&) const = default;
};

/// kInvalidArgument, naming the option: nothing to act on, no channels, a width below 1.
Status validate(const SceTuningOptions& options);

/// Width of the small network at `dim` channels.
int64_t tuner_length(const SceTuningOptions& options, int64_t dim);

}  // namespace tunefleet::tuners

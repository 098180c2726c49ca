#pragma once

#include <cstdint>

#include "tuners/config/tuner_options.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// The largest sizes among the linear layers that a tuner will act on: those of matrices that all
/// of them share.
struct TargetShape {
  int64_t in = 1;
  int64_t out = 1;
  at::Device device = at::kCPU;  ///< Of the layers.
};
/// {1, 1} when nothing matches; LinearAdapter says so then.
TargetShape largest_target(const TunerOptions& options, BaseModel& base);

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include "tuners/sites.h"

namespace tunefleet::models {

/// Runs a linear site with the tuners that are active on it: x [N, in] -> y [N, out]. When all of
/// them are low-rank updates they run with the base in one fused kernel; otherwise the outermost
/// wraps the rest.
at::Tensor linear(const tuners::LinearSite& site, const at::Tensor& x,
                  const tuners::ForwardContext& context);

}  // namespace tunefleet::models

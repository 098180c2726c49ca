#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "tuners/maps/weight_map.h"

namespace tunefleet::tuners {

/// The update W o (B A) for values A [r, in] and B [out, r], all float32: `base` is W [out, in],
/// and is shared.
std::shared_ptr<const WeightMap> hadamard_map(const at::Tensor& base);

}  // namespace tunefleet::tuners

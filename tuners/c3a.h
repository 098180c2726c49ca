#pragma once

#include <cstdint>
#include <memory>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/maps/linear_map.h"

namespace tunefleet::tuners {

/// The map of circulant blocks of width b that C3A trains, from its kernel w [out / b, in / b, b]:
///   y_m = (1 / in) sum_n C(w_mn) x_n,   C(w)_ij = w_((j - i) mod b)
/// computed by Fourier transforms of the blocks of x, where it is a small matrix for each
/// frequency. b divides out and in.
/// Source: Chen et al. 2024, arXiv:2407.19342; PEFT's tuners/c3a.
std::shared_ptr<const LinearMap> circulant_map(int64_t out, int64_t in, int64_t b);

/// C3A on a whole model: a circulant_map of `c3a_kernel` beside each linear layer. Starts at random
/// but for init_weights "true". kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_c3a(const TunerOptions& options,
                                          const AdapterRequest& request);

}  // namespace tunefleet::tuners

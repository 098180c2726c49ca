#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/maps/linear_map.h"
#include "tuners/spectrum_places.h"

namespace tunefleet::tuners {

/// The map that WaveFT trains, by n wavelet coefficients c_k:
///   U = scaling * idwt2(S), S[u_k, v_k] = c_k.   Shapes: c [n]; U [out, in].
/// Since the transform is separable, x is transformed, multiplied with the sparse S, and
/// transformed back. `wavelet`: see wavelet_filters.h; empty: U is S itself, scaled.
/// Source: Bilican et al. 2025, arXiv:2505.12532; PEFT's tuners/waveft, whose horizontal and
/// vertical details stand the other way round than in the transform of an image.
std::shared_ptr<const LinearMap> wavelet_map(int64_t out, int64_t in, const SpectrumPlaces& places,
                                             const std::string& wavelet, double scaling,
                                             const at::Device& device);

/// WaveFT on a whole model: a wavelet_map of `waveft_spectrum` beside each linear layer. Starts as
/// the identity: c is zero. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_waveft(const TunerOptions& options,
                                             const AdapterRequest& request);

}  // namespace tunefleet::tuners

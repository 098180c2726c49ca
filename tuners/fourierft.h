#pragma once

#include <cstdint>
#include <memory>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/maps/linear_map.h"
#include "tuners/spectrum_places.h"

namespace tunefleet::tuners {

/// The map that FourierFT trains, by n entries c_k of its two-dimensional spectrum:
///   U = scaling * Re ifft2(S), S[u_k, v_k] = c_k.   Shapes: c [n]; U [out, in].
/// The spectrum is applied to the spectrum of every token, not to the weight: x is transformed,
/// multiplied with the sparse S, and transformed back.
/// Source: Gao et al. 2024, arXiv:2405.03003; PEFT's tuners/fourierft.
std::shared_ptr<const LinearMap> fourier_map(int64_t out, int64_t in, const SpectrumPlaces& places,
                                             double scaling, const at::Device& device);

/// FourierFT on a whole model: a fourier_map of `fourierft_spectrum` beside each linear layer.
/// Starts at random but for init_weights true. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_fourierft(const TunerOptions& options,
                                                const AdapterRequest& request);

}  // namespace tunefleet::tuners

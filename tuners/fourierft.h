#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/fourierft_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/sparse_pattern.h"
#include "tuners/spectrum_places.h"

namespace tunefleet::tuners {

/// An update with n trained entries c_k in its two-dimensional spectrum:
///   y = next(x) + scaling * x D^T,  D = Re ifft2(S), S[u_k, v_k] = c_k
/// The spectrum is applied to the spectrum of every token, not to the weight: x is transformed,
/// multiplied with the sparse S, and transformed back.
/// Shapes: x [N, in]; fourierft_spectrum c [n]. Starts at random but for init_weights true.
/// Source: Gao et al. 2024, arXiv:2405.03003; PEFT's tuners/fourierft.
class FourierftLinear : public LinearLayerTuner {
 public:
  /// How c acts between half spectra, real and imaginary parts beside one another: what
  /// irfft(rfft(x) S^T) makes the same as the real part of the full transform. Layers of one shape
  /// share it.
  struct Plan {
    Plan(int64_t out, int64_t in, const SpectrumPlaces& places, const at::Device& device);

    int64_t out = 0, in = 0;
    SpectrumPlaces places;
    SparsePattern parts;    ///< [(out / 2 + 1) 2, (in / 2 + 1) 2]
    at::Tensor number;      ///< Which c_k an entry of `parts` belongs to, int64.
    at::Tensor sign;        ///< And with which sign, float32.
    at::Tensor row_weight;  ///< 1 where the row is its own mirror image, 1/2 elsewhere.
    at::Tensor col_weight;  ///< Likewise of the column.

   private:
    struct Parts;
    Plan(int64_t out, int64_t in, const SpectrumPlaces& places, const at::Device& device,
         const Parts& parts);
  };

  FourierftLinear(const LinearSite& site, const std::string& adapter_name,
                  const FourierftOptions& options, std::shared_ptr<const Plan> plan, uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  double scaling_;
  std::shared_ptr<const Plan> plan_;
  at::Tensor spectrum_;  ///< fourierft_spectrum, a float32 leaf.
};

/// FourierFT on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_fourierft(const TunerOptions& options,
                                                const AdapterRequest& request);

}  // namespace tunefleet::tuners

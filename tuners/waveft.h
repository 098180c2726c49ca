#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/waveft_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/sparse_pattern.h"
#include "tuners/spectrum_places.h"

namespace tunefleet::tuners {

/// A wavelet transform of one level of vectors: x [N, width] to its low and high bands, [N, 2
/// half], and back by the adjoint, as one sparse matrix.
struct WaveletTransform {
  /// `name`: see wavelet_filters.h; empty: no transform, the bands are the vector itself.
  WaveletTransform(const std::string& name, int64_t width, const at::Device& device);

  at::Tensor bands(const at::Tensor& x) const;
  at::Tensor from_bands(const at::Tensor& bands) const;  ///< The adjoint of bands().

  int64_t padded = 0;  ///< Of a spectrum's side before the transform: the bands' length.
  std::unique_ptr<SparsePattern> matrix;  ///< [2 half, width]; null without a transform.
  at::Tensor values;
};

/// An update with n trained wavelet coefficients c_k:
///   y = next(x) + scaling * x D^T,  D = idwt2(S), S[u_k, v_k] = c_k
/// Since the transform is separable, x is transformed, multiplied with the sparse S, and
/// transformed back. Without use_idwt D is S itself. Shapes: x [N, in]; waveft_spectrum c [n].
/// Starts as the identity: c is zero. Source: Bilican et al. 2025, arXiv:2505.12532; PEFT's
/// tuners/waveft, whose horizontal and vertical details stand the other way round than in the
/// transform of an image.
class WaveftLinear : public LinearLayerTuner {
 public:
  /// Layers of one shape share it.
  struct Plan {
    Plan(int64_t out, int64_t in, const SpectrumPlaces& places, const std::string& wavelet,
         const at::Device& device);
    WaveletTransform rows, cols;  ///< Of the outputs and of the inputs.
    SparsePattern spectrum;       ///< S between their bands.
  };

  WaveftLinear(const LinearSite& site, const std::string& adapter_name,
               const WaveftOptions& options, std::shared_ptr<const Plan> plan, uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  double scaling_;
  std::shared_ptr<const Plan> plan_;
  at::Tensor spectrum_;  ///< waveft_spectrum, a float32 leaf.
};

/// WaveFT on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_waveft(const TunerOptions& options,
                                             const AdapterRequest& request);

}  // namespace tunefleet::tuners

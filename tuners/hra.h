#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/hra_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// Reflects the input of a frozen linear layer at r trained hyperplanes:
///   y = next(x H^T),  H = H_1 … H_r,  H_i = I - 2 u_i u_i^T / |u_i|^2
/// Shapes: x [N, in]; hra_u [in, r], one u_i a column. Starts as the identity when r is even: equal
/// neighbours cancel. With apply_GS, or an odd r, it cannot.
/// Source: Yuan et al. 2024, arXiv:2405.17484; PEFT's tuners/hra.
class HraLinear : public LinearLayerTuner {
 public:
  /// Stream "<path>.hra_u.<name>": r / 2 columns, each twice, from U(-c, c), c = 1 / sqrt(r / 2);
  /// with apply_GS r different ones; when r is odd or init_weights is false r columns, c = 1 /
  /// sqrt(r).
  HraLinear(const LinearSite& site, const std::string& adapter_name, const HraOptions& options,
            uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  /// W H.
  void merge_into(LayerWeights& weights) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  bool orthogonal_;  ///< apply_GS.
  at::Tensor u_;     ///< hra_u, a float32 leaf.
};

/// HRA on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_hra(const TunerOptions& options,
                                          const AdapterRequest& request);

}  // namespace tunefleet::tuners

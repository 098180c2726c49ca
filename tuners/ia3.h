#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/config/ia3_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// A trained factor l for every output of a frozen linear layer, or for every input of a
/// feed-forward one:
///   y = l o (x W^T + b)        l [out, 1]
///   y = (x o l^T) W^T + b      l [1, in]
/// Starts as the identity: l is one.
/// Source: Liu et al. 2022, arXiv:2205.05638, section 3.3; PEFT's tuners/ia3.
class Ia3Linear : public LinearLayerTuner {
 public:
  /// `ones`: false draws l from N(0, 1), stream "<path>.ia3_l.<name>".
  Ia3Linear(const LinearSite& site, const std::string& adapter_name, bool feedforward, bool ones,
            uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  /// Scales the weight's rows and the bias, or the weight's columns.
  void merge_into(LayerWeights& weights) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  bool feedforward_;
  at::Tensor l_;  ///< [out, 1] or [1, in] float32.
};

/// IA3 on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_ia3(const TunerOptions& options,
                                          const AdapterRequest& request);

}  // namespace tunefleet::tuners

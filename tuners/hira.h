#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tuners/config/hira_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// A low-rank matrix of factors for the weights of a frozen linear layer, an update of full rank:
///   y = next(x) + dropout(x) (W o (B A))^T
/// A [r, in], B [out, r], float32; W is the layer's own weight, whatever other adapters have added.
/// Starts as the identity: B is zero.
/// Source: Huang et al. 2025, "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation", eq. 4;
/// PEFT's tuners/hira.
class HiraLinear : public LinearLayerTuner {
 public:
  HiraLinear(const LinearSite& site, const std::string& adapter_name, const HiraOptions& options,
             uint64_t seed);

  std::optional<WeightUpdate> weight_update(const ForwardContext& context) const override;
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  double dropout_;
  uint64_t stream_;  ///< Of the dropout's draws.
  at::Tensor base_;  ///< The layer's weight, shared.
  at::Tensor a_, b_;
  std::shared_ptr<const WeightMap> map_;
};

/// HiRA on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_hira(const TunerOptions& options,
                                           const AdapterRequest& request);

}  // namespace tunefleet::tuners

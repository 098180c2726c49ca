#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/config/road_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// Rotations and scales of pairs of a frozen linear layer's outputs, its bias included:
///   y = R next(x):  y_i = c_i z_i - s_i z_j,  y_j = c_j z_j + s_j z_i,  j = i + group_size / 2
/// within groups of outputs; c = alpha cos(theta), s = alpha sin(theta). theta and alpha, float32,
/// have one number for a pair (road_1, [out / 2]), one for an output (road_2, [out]), or two,
/// for c and for s (road_4, [2 out]). Starts as the identity: theta 0, alpha 1.
/// Source: Liao and Monz 2024, arXiv:2409.00119, eq. 4; PEFT's tuners/road.
class RoadLinear : public LinearLayerTuner {
 public:
  /// group_size divides the layer's outputs.
  RoadLinear(const LinearSite& site, const std::string& adapter_name, const RoadOptions& options,
             uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  /// Rotates the weight's rows and the bias.
  void merge_into(LayerWeights& weights) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  /// R z for z [M, out], in z's dtype.
  at::Tensor rotated(const at::Tensor& z) const;

  std::string variant_;
  int64_t group_size_;
  at::Tensor theta_, alpha_;
};

/// RoAd on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_road(const TunerOptions& options,
                                           const AdapterRequest& request);

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "tuners/config/bypass_plan.h"
#include "tuners/trained_layers.h"

namespace tunefleet::tuners {

/// One part of a block of Res-Tuning's bypass, made by its plan:
///   res_adapter        x + w * ln2(gelu(ln1(x))), over the channels of [B, C, H, W] or the last
///                      dimension
///   res_group_adapter  the same with one small ln1, ln2 for all heads; channel c * heads + h is
///                      channel c of head h; x [B, C, H, W]
///   upsample           nearest neighbour to a size, twice the size when none is given, then a 3x3
///                      convolution if the plan has one; x [B, C, H, W]
///   identity, zero
/// w: a trained number, a trained number per channel, a fixed one, or a gate: mean over positions
/// of sigmoid(linear(update)), [B, 1, 1].
class BypassTuner {
 public:
  BypassTuner(const BypassTunerPlan& plan, const TunerPlace& place);

  /// `size`: height and width for upsample. Undefined when the part is zero.
  at::Tensor forward(const at::Tensor& x, at::OptionalIntArrayRef size = std::nullopt) const;
  void append(const std::string& name, std::vector<LayerTensor>& tensors) const;

 private:
  at::Tensor adapted(const at::Tensor& x) const;
  at::Tensor group_adapted(const at::Tensor& x) const;
  at::Tensor upsampled(const at::Tensor& x, at::OptionalIntArrayRef size) const;
  at::Tensor weighted(const at::Tensor& update) const;

  BypassTunerPlan plan_;
  TrainedLinear ln1_, ln2_;
  TrainedLinear gate_;
  at::Tensor scaling_;  ///< [1] or [C]
  TrainedConv conv_;
};

/// A block: x <- aux(lateral(stem) + vertical(x)).
class BypassBlock {
 public:
  BypassBlock(const BypassBlockPlan& plan, const TunerPlace& place);
  at::Tensor forward(const at::Tensor& stem, const at::Tensor& x,
                     at::OptionalIntArrayRef next_size) const;
  void append(const std::string& name, std::vector<LayerTensor>& tensors) const;

 private:
  BypassTuner lateral_;
  BypassTuner vertical_;
  std::optional<BypassTuner> aux_;
};

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "proto/result.h"
#include "tuners/config/res_tuning_options.h"

/// What Res-Tuning's option tuner_cfg says. A block of the bypass is
///   x <- aux(lateral(stem) + vertical(x))
/// and each of the three is told by a word or by an object with the word as its key:
///   "res_adapter", {"res_adapter": {"adapter_length": 32, "adapter_weight": "gate"}}
///       adapter_length: a width, [width of each block], or [[in, width, out], ...]
///   "res_group_adapter", {"res_group_adapter": {"head": 4, "scale_factor": 2, "dim": 64}}
///   "upsample" · "identity" · "zero" (drops its input)
/// A word alone is both lateral and vertical; {"lateral_cfg": ..., "vertical_cfg": ..., "aux_cfg":
/// ...} names them. adapter_weight: gate, scale, scale_channel, scalar_<number>; others do nothing.
namespace tunefleet::tuners {

/// One of a block's three parts.
struct BypassTunerPlan {
  enum class Kind { kIdentity, kResAdapter, kResGroupAdapter, kUpsample };
  enum class Weight { kNone, kGate, kScale, kScaleChannel, kScalar };

  Kind kind = Kind::kIdentity;
  bool zero = false;                   ///< Its output is zero, whatever it is.
  bool zero_init = false;              ///< Its last layer starts at zero.
  int64_t in = 0, width = 0, out = 0;  ///< res_adapter: in -> width -> out; group: of one head.
  int64_t heads = 1;                   ///< Interleaved groups of channels.
  int64_t weight_dim = 0;              ///< Channels that the weight is made for.
  Weight weight = Weight::kNone;
  double scalar = 1.0;        ///< Of kScalar.
  int64_t conv_channels = 0;  ///< Upsample: output channels of its convolution; 0: it has none.
};

struct BypassBlockPlan {
  BypassTunerPlan lateral;
  BypassTunerPlan vertical;
  std::optional<BypassTunerPlan> aux;
};

/// The blocks for `depth` stems. kInvalidArgument, naming the option and the block: a list that is
/// too short, unknown words, numbers that do not fit.
Result<std::vector<BypassBlockPlan>> plan_bypass(const ResTuningOptions& options, int64_t depth);

}  // namespace tunefleet::tuners

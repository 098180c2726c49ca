#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>

#include "tuners/sites.h"

namespace tunefleet::tuners {

/// A flat batch's sequences cut into groups, and the same with every sequence rolled by half a
/// group.
struct AttentionGroups {
  std::shared_ptr<const Boundaries> boundaries;  ///< Of the groups.
  at::Tensor rolled;  ///< int64 [N]: row n of the rolled batch is this row of the batch.
  at::Tensor back;    ///< The way back.

  /// Groups of int(L * ratio) tokens of a sequence of length L; what does not divide is a shorter
  /// last group, and a sequence shorter than 1 / ratio is one group. A sequence is rolled by half a
  /// group, rounded down, towards its beginning; its first tokens come to its end.
  static AttentionGroups make(const Boundaries& sequences, double ratio, at::Device device);
};

/// The groups of one batch, made once for all layers. Thread-safe.
class AttentionGrouping {
 public:
  explicit AttentionGrouping(double ratio) : ratio_(ratio) {}
  AttentionGroups of(const std::shared_ptr<const Boundaries>& sequences, at::Device device) const;

 private:
  double ratio_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Boundaries> sequences_;
  mutable AttentionGroups groups_;
};

/// Shifted sparse attention in training: each token sees its group only; for the second half of the
/// heads the groups lie half a group further on. In evaluation, plain attention.
/// In a rolled sequence the first tokens stand in a group with the last ones and behind them, so
/// that on these heads they see what comes later: so it is in the paper's program and in ms-swift.
/// Source: Chen et al. 2023, arXiv:2309.12307, algorithm 1.
class ShiftedSparseAttention : public AttentionTuner {
 public:
  explicit ShiftedSparseAttention(std::shared_ptr<const AttentionGrouping> grouping)
      : grouping_(std::move(grouping)) {}
  at::Tensor forward(const AttentionInput& input, const AttentionNext& next,
                     const ForwardContext& context) const override;

 private:
  std::shared_ptr<const AttentionGrouping> grouping_;
};

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// One small matrix M that all blocks of r inputs share. Three variants:
///   plain  y = next(x) + (sum_j x_j) M            x_j [N, r] the blocks of x, the last one short
///   mini   as plain, M's columns repeated over the outputs
///   bat    W_ij + W_ij M_i + M_i in the place of every block W_ij [r, r] of the base's weight
/// Shapes: M [r, out]; mini [r, mini_r]; bat [out/r, r, r]. Starts as the identity: M is zero.
/// Source: Kang et al. 2024, arXiv:2409.15371; PEFT's tuners/miss (before 0.19 tuners/bone).
class MissLinear : public LinearLayerTuner {
 public:
  enum class Variant { kPlain, kMini, kBat };
  struct Settings {
    Variant variant = Variant::kPlain;
    int64_t r = 64;
    int64_t mini_r = 1;
    double dropout = 0.0;                    ///< Of x, in training; not with bat.
    bool zeros = true;                       ///< False: U(-1/sqrt(out), 1/sqrt(out)), plain only.
    std::string tensor_name = "miss_block";  ///< In files.
  };

  /// `block_sum`: see block_sum_matrix. Throws std::invalid_argument when the sizes do not fit.
  MissLinear(const LinearSite& site, const std::string& adapter_name, Settings settings,
             at::Tensor block_sum, uint64_t seed);

  /// What adds up the blocks of x, as a matrix [r, in] of zeros and ones. Layers of one width share
  /// it.
  static at::Tensor block_sum_matrix(int64_t r, int64_t in, const at::TensorOptions& options);

  /// Plain and mini: the block sums are A, M is B.
  std::optional<LowRankUpdate> low_rank() const override;
  /// bat.
  std::optional<WeightUpdate> weight_update(const ForwardContext& context) const override;
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  at::Tensor columns() const;  ///< M^T [out, r], differentiable.

  Settings settings_;
  const LinearSite& site_;
  at::Tensor block_sum_;  ///< [r, in] in the base's dtype; undefined with bat.
  uint64_t stream_;       ///< Of the dropout's draws.
  at::Tensor block_;      ///< M, a float32 leaf.
};

/// MiSS, or BONE, on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_miss(const TunerOptions& options,
                                           const AdapterRequest& request);
Result<std::unique_ptr<Adapter>> make_bone(const TunerOptions& options,
                                           const AdapterRequest& request);

}  // namespace tunefleet::tuners

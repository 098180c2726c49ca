#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "tuners/config/lora_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// A trainable low-rank update of a frozen linear layer:
///   y = next(x) + scaling * B(A(dropout(x)))
/// Shapes: x [N, in]; A [r, in]; B [out, r]; y [N, out].
/// Source: Hu et al. 2021, arXiv:2106.09685, eq. 3; scaling alpha / sqrt(r): Kalajdzievski 2023,
/// arXiv:2312.03732.
class LoraLinear : public LinearLayerTuner {
 public:
  /// What of LoraOptions one layer needs, patterns resolved.
  struct Settings {
    int64_t r = 8;
    double scaling = 1.0;
    double dropout = 0.0;
    std::string init = "true";          ///< LoraOptions::init_lora_weights.
    at::ScalarType dtype = at::kFloat;  ///< Of A and B.
  };

  /// Makes A and B on the device of the site's weight. Initial values are drawn from (seed,
  /// "<path>.lora_A.<name>" and "….lora_B.<name>"), so that they depend neither on other layers nor
  /// on the order of creation:
  ///   true        A U(-1/sqrt(in), 1/sqrt(in)), B 0: starts as the identity
  ///   gaussian    A N(0, 1/r^2), B 0
  ///   false       A as for true, B U(-1/sqrt(r), 1/sqrt(r)): not the identity, for tests
  ///   orthogonal  A, B from the odd and even rows of one random orthogonal [r, r]: B A = 0; even r
  ///   only
  LoraLinear(const LinearSite& site, const std::string& adapter_name, Settings settings,
             uint64_t seed);

  /// A and B as the fused kernel takes them: in float32 or the base's dtype (a differentiable cast
  /// where they are in neither).
  std::optional<LowRankUpdate> low_rank() const override;
  /// The same mathematics in plain operations.
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  /// scaling * B A, [out, in] float32: what merging adds to the base's weight.
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

  const at::Tensor& a() const { return a_; }  ///< [r, in], a leaf that requires grad.
  const at::Tensor& b() const { return b_; }  ///< [out, r], likewise.
  double scaling() const { return settings_.scaling; }

 private:
  Settings settings_;
  at::ScalarType base_dtype_;
  uint64_t stream_;  ///< Of the dropout's draws.
  at::Tensor a_;
  at::Tensor b_;
};

}  // namespace tunefleet::tuners

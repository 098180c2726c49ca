#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tuners/config/lora_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/lora_initial_values.h"
#include "tuners/row_norm.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// A trainable low-rank update of a frozen linear layer:
///   y = next(x) + scaling * B(A(dropout(x)))
/// Shapes: x [N, in]; A [r, in]; B [out, r]; y [N, out].
/// Source: Hu et al. 2021, arXiv:2106.09685, eq. 3; scaling alpha / sqrt(r): Kalajdzievski 2023,
/// arXiv:2312.03732.
///
/// PiSSA and OLoRA start from a part of the base, B0 A0, and train with W - scaling * B0 A0 in W's
/// place: here a second low-rank update that is fixed and subtracted. The base is never written, so
/// that other adapters, and none, see it as it is. B0 A0 follows from W and is in no file.
///
/// DoRA rescales what is inside, m / |W + scaling * B A| for each output (Liu et al. 2024,
/// arXiv:2402.09353); the norm is of the base as it was when the adapter was made.
class LoraLinear : public LinearLayerTuner {
 public:
  /// What of LoraOptions one layer needs, patterns resolved.
  struct Settings {
    int64_t r = 8;
    double scaling = 1.0;
    double dropout = 0.0;
    std::string init = "true";          ///< LoraOptions::init_lora_weights.
    at::ScalarType dtype = at::kFloat;  ///< Of everything that trains.
    bool dora = false;
    bool bias = false;  ///< Whether B has one.
  };

  /// Makes A and B on the device of the site's weight: see lora_initial_values.h. The site lives
  /// longer.
  LoraLinear(const LinearSite& site, const std::string& adapter_name, Settings settings,
             uint64_t seed);

  /// A and B as the fused kernel takes them: in float32 or the base's dtype (a differentiable cast
  /// where they are in neither).
  std::optional<LowRankUpdate> low_rank() const override;
  /// The same mathematics in plain operations, in PEFT's order.
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  /// False where B has a bias and the layer none to add it to.
  bool can_merge() const override;
  void merge_into(LayerWeights& weights) const override;
  /// scaling * (B A - B0 A0), [out, in] float32: what merging adds to the base's weight, and DoRA
  /// before it rescales.
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

  const at::Tensor& a() const { return a_; }  ///< [r, in], a leaf that requires grad.
  const at::Tensor& b() const { return b_; }  ///< [out, r], likewise.
  double scaling() const { return settings_.scaling; }

 private:
  void make_factors(const LoraDraw& draw);
  std::vector<ScaledFactors> additions() const;
  /// What DoRA multiplies with, [out] float32: differentiable in the magnitude.
  at::Tensor rescaling() const;
  at::Tensor low_rank_output(const at::Tensor& x) const;
  at::Tensor rescaled(const at::Tensor& y, const at::Tensor& dropped, const at::Tensor& low,
                      bool same_input) const;

  const LinearSite& site_;
  Settings settings_;
  at::Tensor base_;  ///< The site's weight before anything was merged into it.
  uint64_t stream_;  ///< Of the dropout's draws.
  at::Tensor a_;
  at::Tensor b_;
  at::Tensor bias_;       ///< [out] or undefined.
  at::Tensor magnitude_;  ///< [out] or undefined.
  LoraFactors start_;     ///< A0 and B0; undefined but for PiSSA and OLoRA.
  RowNorm norm_;
};

}  // namespace tunefleet::tuners

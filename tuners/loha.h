#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tuners/config/loha_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/lycoris_dropout.h"

namespace tunefleet::tuners {

/// The elementwise product of two low-rank updates of a frozen linear layer:
///   y = next(x) + alpha / r * x ((w1_a w1_b) o (w2_a w2_b))^T
/// w1_a, w2_a [out, r]; w1_b, w2_b [r, in], float32. That product is itself of low rank r^2,
///   sum_ij (w1_a[:, i] o w2_a[:, j]) (w1_b[i, :] o w2_b[j, :])^T   (row-wise Khatri-Rao products),
/// which is how it is applied as long as that takes less than a dense update.
/// Source: Hyeon-Woo et al. 2021, arXiv:2108.06098, proposition 1; PEFT's tuners/loha.
class LohaLinear : public LinearLayerTuner {
 public:
  struct Settings {
    int64_t r = 8;
    double scaling = 1.0;
    LycorisDropout::Rates dropout{};
    bool start_at_zero = true;  ///< w2_b is 0; the others, and else w2_b too, are Kaiming-uniform.
  };
  LohaLinear(const LinearSite& site, const std::string& adapter_name, const Settings& settings,
             uint64_t seed);

  std::optional<LowRankUpdate> low_rank() const override;
  std::optional<WeightUpdate> weight_update(const ForwardContext& context) const override;
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  bool prefers_low_rank() const;
  at::Tensor inner_factor() const;  ///< [r^2, in]
  at::Tensor outer_factor() const;  ///< [out, r^2]

  Settings settings_;
  LycorisDropout dropout_;
  bool float_base_;
  at::Tensor w1_a_, w1_b_, w2_a_, w2_b_;
};

/// LoHa on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_loha(const TunerOptions& options,
                                           const AdapterRequest& request);

}  // namespace tunefleet::tuners

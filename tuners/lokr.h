#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/config/lokr_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/lycoris_dropout.h"

namespace tunefleet::tuners {

/// A Kronecker product as the update of a frozen linear layer:
///   y = next(x) + alpha / r * x kron(w1, w2)^T
/// w1 [out1, in1] and w2 [out2, in2], out1 out2 = out and in1 in2 = in; each is one tensor, or the
/// product of two of rank r where r is below half of its larger side (w1 only with
/// decompose_both). Applied as two small products on x seen as [N, in1, in2].
/// Source: Yeh et al. 2023, arXiv:2309.14859, section 3; PEFT's tuners/lokr.
class LokrLinear : public LinearLayerTuner {
 public:
  /// What of LokrOptions one layer needs, patterns resolved.
  struct Settings {
    int64_t r = 8;
    double scaling = 1.0;
    LycorisDropout::Rates dropout{};
    bool decompose_both = false;
    int64_t decompose_factor = -1;
    /// Kaiming-uniform but for w1 (true; w1_a when it is a product) or w2 (lycoris; w2_b): 0.
    std::string init = "true";
  };
  LokrLinear(const LinearSite& site, const std::string& adapter_name, const Settings& settings,
             uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  /// One of the two: whole, or as a product a b.
  struct Factor {
    at::Tensor whole, a, b;
    at::Tensor value() const { return whole.defined() ? whole : a.matmul(b); }
    /// x [M, cols] times its transpose: [M, rows].
    at::Tensor applied(const at::Tensor& x) const;
  };

  at::Tensor update(const at::Tensor& x) const;  ///< x float32 [N, in] -> [N, out].

  Settings settings_;
  LycorisDropout dropout_;
  Factor w1_, w2_;
};

/// LoKr on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_lokr(const TunerOptions& options,
                                           const AdapterRequest& request);

}  // namespace tunefleet::tuners

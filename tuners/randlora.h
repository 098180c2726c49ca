#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tuners/config/randlora_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// The random bases that all layers share, float32: as many pairs of rank r as reach full rank.
struct RandomBases {
  at::Tensor a;  ///< [r, 1, narrow]: one A for all of them.
  at::Tensor b;  ///< [wide, n, r]
};

/// Draws them as PEFT does: n = ceil(narrow / r), each divided by its deviation.
RandomBases random_bases(const RandloraOptions& options, int64_t narrow, int64_t wide);

/// A sum of fixed random low-rank updates of a frozen linear layer with trained scales, of full
/// rank:
///   y = next(x) + alpha / r * dropout(x) U^T,   U = sum over (j, k) of B[:, j, k] (lambda o A
///   gamma)
/// or U transposed, whichever has the narrower side where A is. A [r, narrow], gamma [n, narrow],
/// lambda [r, n]; as in PEFT the columns of B are taken in the order (j, k), the rows of the scaled
/// A in the order (k, j). n r is at least `narrow`: with many tokens U is formed once for a pass,
/// with few it is applied in factors, whichever takes fewer multiplications. Starts as the
/// identity: lambda is zero. Source: Albert et al. 2025, arXiv:2502.00987, eq. 3; PEFT's
/// tuners/randlora.
class RandloraLinear : public LinearLayerTuner {
 public:
  RandloraLinear(const LinearSite& site, const std::string& adapter_name,
                 const RandloraOptions& options, const RandomBases& bases, uint64_t seed);

  std::optional<LowRankUpdate> low_rank() const override;
  std::optional<WeightUpdate> weight_update(const ForwardContext& context) const override;
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  /// The scales, and the bases once more as PEFT's files have them.
  std::vector<LayerTensor> tensors() const override;

 private:
  at::Tensor inner() const;  ///< A of this layer, [r, 1, narrow].
  at::Tensor outer() const;  ///< B of this layer, [wide, n r].
  bool whole_is_cheaper(int64_t tokens) const;

  int64_t in_, out_;
  double scaling_;
  double dropout_;
  bool save_bases_;
  bool float_base_;
  uint64_t stream_;  ///< Of the dropout's draws.
  RandomBases bases_;
  at::Tensor lambda_, gamma_;
};

/// RandLoRA on a whole model.
class RandloraAdapter : public LinearAdapter {
 public:
  /// kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  /// Of every layer, then randlora_A and randlora_B.
  std::vector<AdapterTensor> tensors() const override;

 private:
  using LinearAdapter::LinearAdapter;
  RandomBases bases_;
};

}  // namespace tunefleet::tuners

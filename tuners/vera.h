#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/config/vera_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// Trained scales of a fixed random low-rank update:
///   y = next(x) + b o (d o (dropout(x) A^T)) B^T
/// A [r, in] and B [out, r] are slices of two matrices that all layers share; d [r] and b [out],
/// float32, train. Starts as the identity: b is zero.
/// Source: Kopiczko et al. 2023, arXiv:2310.11454, eq. 2; PEFT's tuners/vera.
class VeraLinear : public LinearLayerTuner {
 public:
  /// `a` and `b`: the shared matrices, float32, at least as large as the layer.
  VeraLinear(const LinearSite& site, const std::string& adapter_name, const VeraOptions& options,
             const at::Tensor& a, const at::Tensor& b, uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  at::Tensor inner() const;  ///< [r, in] of the shared A.
  at::Tensor outer() const;  ///< [out, r] of the shared B.

  double dropout_;
  uint64_t stream_;  ///< Of the dropout's draws.
  int64_t in_, out_;
  at::Tensor shared_a_, shared_b_;
  at::Tensor lambda_d_, lambda_b_;
};

/// VeRA on a whole model. The shared matrices have the largest sizes of all targets; they are drawn
/// as PEFT draws them, so that files without them load the same in both.
class VeraAdapter : public LinearAdapter {
 public:
  /// kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  /// Of every layer, then vera_A and vera_B.
  std::vector<AdapterTensor> tensors() const override;

 private:
  using LinearAdapter::LinearAdapter;
  at::Tensor a_, b_;
};

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tuners/adapter.h"
#include "tuners/lora.h"

namespace tunefleet::tuners {

/// LoRA on a 2-D convolution: y += scaling * B(A(dropout(x))), A a convolution like the base's but
/// to r channels and without groups, B one of 1 x 1 with the base's groups.
/// Shapes: A [r, in, kh, kw]; B [out, r / groups, 1, 1]; magnitude [1, out, 1, 1] as PEFT has it.
class LoraConv : public ConvTuner {
 public:
  /// Settings as LoraLinear's. Throws std::invalid_argument for initial values of matrices, a rank
  /// that the groups do not divide, and DoRA on groups.
  LoraConv(const ConvSite& site, const std::string& adapter_name, LoraLinear::Settings settings,
           uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override;
  /// False for groups, whose update is no convolution of the base's shape, and where B has a bias
  /// and the layer none to add it to.
  bool can_merge() const;
  void merge_into(LayerWeights& weights) const;
  std::vector<LayerTensor> tensors() const;

 private:
  at::Tensor convolved(const at::Tensor& x, const at::Tensor& weight, int64_t groups) const;
  at::Tensor delta_weight() const;  ///< [out, in, kh, kw] float32
  /// B A as matrices, [out, r] and [r, in * kh * kw]: for layers without groups.
  std::vector<ScaledFactors> additions() const;
  at::Tensor rescaling() const;  ///< [out, 1, 1] float32

  const ConvSite& site_;
  LoraLinear::Settings settings_;
  at::Tensor base_;
  uint64_t stream_;
  at::Tensor a_;
  at::Tensor b_;
  at::Tensor bias_;
  at::Tensor magnitude_;
  RowNorm norm_;  ///< Of the weight as a matrix [out, in * kh * kw].
};

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/boft_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// Rotates the inputs of a frozen linear layer by a product of m sparse rotations, and scales its
/// outputs:
///   y = s o (next(x B_m … B_1) - b) + b,  B_i = P_i blockdiag(R_i1 … R_in) P_i^T
/// R by the exact Cayley map of (X - X^T) / 2; the permutations P_i let ever more distant inputs
/// meet in one block (butterfly); with m = 1 there is none.
/// Shapes: x [N, n b]; boft_R (X) [m, n, b, b]; boft_s [out, 1]. Starts as the identity: X is zero,
/// s one. PEFT without its CUDA extension ignores boft_n_butterfly_factor: there m is 1. Source:
/// Liu et al. 2023, arXiv:2311.06243, section 4; PEFT's tuners/boft.
class BoftLinear : public LinearLayerTuner {
 public:
  BoftLinear(const LinearSite& site, const std::string& adapter_name, const BoftOptions& options,
             BoftBlocks blocks, uint64_t seed);

  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  void merge_into(LayerWeights& weights) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  int64_t factors() const { return x_.size(0); }
  /// R - I of every block, [m, n, b, b] float32, differentiable.
  at::Tensor rotations() const;
  /// x B_i for d = R_i - I [n, b, b]; `back`: x B_i^T.
  at::Tensor rotated(const at::Tensor& x, const at::Tensor& d, int64_t factor, bool back) const;
  /// Turns at rest in this step: [m, n, 1, 1] of zeros and ones, undefined when none is.
  at::Tensor kept_blocks(const ForwardContext& context) const;

  const LinearSite& site_;
  double dropout_;
  uint64_t stream_;
  /// For each factor: which input each place of the blocks takes, and back. Empty when m is 1.
  std::vector<at::Tensor> into_blocks_, out_of_blocks_;
  at::Tensor x_;  ///< boft_R, a float32 leaf.
  at::Tensor s_;  ///< boft_s, likewise.
};

/// The butterfly's permutation of factor `factor` (from 0): the place in its blocks of every input.
/// Blocks of `count` * 2^-factor groups are cut into halves of b / 2, and those in even places come
/// first.
std::vector<int64_t> butterfly_order(const BoftBlocks& blocks, int64_t factor);

/// BOFT on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_boft(const TunerOptions& options,
                                           const AdapterRequest& request);

}  // namespace tunefleet::tuners

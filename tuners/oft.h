#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/oft_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// Rotates every block of b inputs of a frozen linear layer by a trained rotation:
///   y = next(x R),  R = blockdiag(R_1 … R_n),  R_k from a skew-symmetric Q_k
/// Shapes: x [N, n b]; oft_R.weight [n, b (b - 1) / 2], the upper triangles of Q, or [1, …] with
/// block_share. Starts as the identity: Q is zero. PEFT's two maps are followed as they are: the
/// series comes near to (I + Q) (I - Q)^-1, the exact map is (I - Q) (I + Q)^-1, its inverse; a
/// stored adapter means the one that its use_cayley_neumann says.
/// Source: Qiu et al. 2023, arXiv:2306.07280; PEFT's tuners/oft.
class OftLinear : public LinearLayerTuner {
 public:
  OftLinear(const LinearSite& site, const std::string& adapter_name, const OftOptions& options,
            uint64_t seed);

  /// With coft the first pass after a change of the values brings them back into the bound, in
  /// place as PEFT does; passes may run side by side only after that.
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  /// W R^T.
  void merge_into(LayerWeights& weights) const override;
  std::vector<LayerTensor> tensors() const override;

  const at::Tensor& entries() const { return entries_; }

 private:
  /// R_k - I, [n or 1, b, b] float32, differentiable.
  at::Tensor rotation() const;
  void constrain() const;

  int64_t block_size_;
  bool coft_, series_;
  double eps_;
  int64_t terms_;
  double dropout_;      ///< Share of the blocks that rest.
  uint64_t stream_;     ///< Of the draw of those.
  at::Tensor entries_;  ///< oft_R.weight, a float32 leaf.
};

/// OFT on a whole model. kInvalidArgument: the options do not fit the model.
Result<std::unique_ptr<Adapter>> make_oft(const TunerOptions& options,
                                          const AdapterRequest& request);

/// Ones, and zeros for int(share * count) of them, drawn by (seed, step, stream): float32 [count,
/// 1, 1]. What keeps blocks at rest in a training step; undefined when none rest.
at::Tensor resting_blocks(int64_t count, double share, uint64_t stream,
                          const ForwardContext& context, const at::Device& device);

}  // namespace tunefleet::tuners

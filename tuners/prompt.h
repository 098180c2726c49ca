#pragma once

#include <memory>
#include <string>

#include "proto/result.h"
#include "tuners/config/prompt_options.h"
#include "tuners/pass_adapter.h"

namespace tunefleet::tuners {

/// Prompt tokens of one block: at block 0 they are put among its input tokens, at deeper blocks
/// they take the place of the ones that came in.
///   x [B, T, C] -> block([prompt; x]) [B, P + T, C]  or  block([prompt; x[P:]])
/// Source: Jia et al. 2022, arXiv:2203.12119, eq. 4-8 (VPT-deep).
class PromptLayer : public PassTuner {
 public:
  struct Settings {
    int64_t dim = 0;
    int64_t length = 16;
    int64_t block = 0;  ///< Its number: the end of its path.
    bool front = true;
    bool extract = false;  ///< Takes the prompt out of the block's output.
    bool has_mask = false;
    double mask_value = 0.0;
  };
  PromptLayer(const Settings& settings, const TunerPlace& place);

  /// Throws std::invalid_argument when x is not [B, T, dim], or has no room for a deeper prompt.
  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override;
  /// With attention_mask_pos set: [..., T] gets P columns of the mask value.
  at::Tensor attention_mask(const at::Tensor& mask) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  at::Tensor with_prompt(const at::Tensor& x) const;
  at::Tensor joined(const at::Tensor& prompt, const at::Tensor& rest, int64_t dim) const;

  Settings settings_;
  at::Tensor prompt_;  ///< [1, P, C] float32
};

/// ms-swift's Prompt: prompt tokens at blocks of a network over [B, T, C]. extract_embedding takes
/// them out behind the last target only (ms-swift does so behind each, which loses real tokens).
class PromptAdapter : public PassAdapter {
 public:
  /// kInvalidArgument: no such place, a path that does not end with a number, too few widths, a
  /// model whose tokens lie flat.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

 private:
  using PassAdapter::PassAdapter;
};

}  // namespace tunefleet::tuners

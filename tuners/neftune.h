#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/neftune_options.h"

namespace tunefleet::tuners {

/// Noise on an embedding's output in training:
///   y = next(ids) + e,  e uniform in [-a, a),  a = noise_alpha / sqrt(L * C)
/// Shapes: ids [N]; y [N, C]. L is the length of the token's own sequence: batches here are not
/// padded, where ms-swift and transformers take the padded length of the batch, so that there the
/// noise of short rows depends on the rows beside them. Drawn by (seed, step, token, column).
/// Source: Jain et al. 2023, arXiv:2310.05914, algorithm 1.
class NeftuneNoise : public EmbeddingTuner {
 public:
  NeftuneNoise(const std::string& path, double noise_alpha);

  /// In training context.token_keys must be there. No boundaries: one sequence.
  at::Tensor forward(const at::Tensor& ids, const TensorNext& next,
                     const ForwardContext& context) const override;

 private:
  double noise_alpha_;
  uint64_t stream_;
};

/// NEFTune at every embedding of a model. Has no tensors, trains nothing and freezes nothing, so
/// that it goes beside any tuner; a model takes one. Merging takes it away.
class NeftuneAdapter : public Adapter {
 public:
  /// kInvalidArgument: a model without embeddings.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override { return {}; }
  std::vector<EmbeddingPart> embedding_tuners() const override;
  bool can_merge() const override { return true; }
  bool is_single() const override { return true; }

 private:
  NeftuneAdapter(const TunerOptions& options, std::string name)
      : name_(std::move(name)), options_(options) {}

  struct Place {
    EmbeddingSite* site = nullptr;
    std::unique_ptr<NeftuneNoise> noise;
  };
  std::string name_;
  TunerOptions options_;
  std::vector<Place> places_;
};

}  // namespace tunefleet::tuners

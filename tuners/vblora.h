#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tuners/config/vblora_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/random.h"

namespace tunefleet::tuners {

/// Pieces of a low-rank factor, each a mixture of the topk vectors of a bank that its logits
/// choose:
///   piece = sum_k softmax(topk(logits))_k bank[index_k]
class VectorMixture {
 public:
  /// `shape`: the pieces, two numbers; logits [shape…, num_vectors] are N(0, init_logits_std^2).
  VectorMixture(at::IntArrayRef shape, const VbloraOptions& options, RandomStream stream,
                at::Device device);

  /// The pieces [shape…, vector_length] from bank [num_vectors, vector_length].
  at::Tensor pieces(const at::Tensor& bank) const;
  const at::Tensor& logits() const { return logits_; }

  /// What files hold instead of the logits: the chosen vectors [shape…, topk], and their weights
  /// but for the last, [shape…, topk - 1]. Brought up to date by store(), taken up by restore():
  /// then all other logits are -infinity.
  const at::Tensor& indices() const { return indices_; }
  const at::Tensor& weights() const { return weights_; }
  void store() const;
  void restore();

 private:
  int64_t topk_;
  at::Tensor logits_;
  at::Tensor indices_, weights_;  ///< The smallest integers that number the vectors; float32.
};

/// A low-rank update of a frozen linear layer whose factors are mixed from the bank:
///   y = next(x) + dropout(x) A^T B^T,  A [r, in], B [out, r]
/// Source: Li et al. 2024, arXiv:2405.15179, section 3; PEFT's tuners/vblora.
class VbloraLinear : public LinearLayerTuner {
 public:
  /// `bank` float32 [num_vectors, vector_length], shared by all layers; vector_length divides the
  /// layer's widths.
  VbloraLinear(const LinearSite& site, const std::string& adapter_name,
               const VbloraOptions& options, const at::Tensor& bank, uint64_t seed);

  std::optional<LowRankUpdate> low_rank() const override;
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  /// The logits, or what stands for them in files.
  std::vector<LayerTensor> tensors() const override;
  VectorMixture& mixture_a() { return mixture_a_; }
  VectorMixture& mixture_b() { return mixture_b_; }

 private:
  at::Tensor a() const;
  at::Tensor b() const;

  bool store_mixtures_;
  double dropout_;
  uint64_t stream_;  ///< Of the dropout's draws.
  at::Tensor bank_;
  VectorMixture mixture_a_;  ///< Pieces [r, in / vector_length].
  VectorMixture mixture_b_;  ///< Pieces [out / vector_length, r].
};

/// VB-LoRA on a whole model.
class VbloraAdapter : public LinearAdapter {
 public:
  /// kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  /// Of every layer, then the bank.
  std::vector<AdapterTensor> tensors() const override;
  /// Throws std::invalid_argument when the logits are lost: loaded from a file of mixtures.
  bool before_step(const StepInfo& info) override;
  /// The logits, where files hold mixtures only.
  std::vector<AdapterTensor> state() const override;
  void loaded() override;

 private:
  using LinearAdapter::LinearAdapter;
  bool stores_mixtures() const { return options().as<VbloraOptions>().save_only_topk_weights; }

  at::Tensor bank_;
  bool from_file_ = false;  ///< Mixtures are still to be taken up.
  bool lost_logits_ = false;
};

}  // namespace tunefleet::tuners

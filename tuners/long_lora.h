#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/long_lora_options.h"
#include "tuners/shifted_attention.h"

namespace tunefleet::tuners {

/// LongLoRA: LoRA, shifted sparse attention at every layer in training, and the embedding and the
/// norms trained in full as copies. A tied output embedding stays tied to the copy. Files hold the
/// copies under the base's names beside LoRA's tensors, as ms-swift's do.
class LongLoraAdapter : public Adapter {
 public:
  /// kInvalidArgument: what LoRA refuses; embedder_and_normalizer that selects nothing; a model
  /// without attention sites.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return lora_->name(); }
  const TunerOptions& options() const override { return options_; }
  /// LoRA's, then the copies, which have LoRA+'s rules too.
  std::vector<AdapterTensor> tensors() const override;
  std::vector<SiteTuner> linear_tuners() const override { return lora_->linear_tuners(); }
  std::vector<EmbeddingPart> embedding_tuners() const override { return lora_->embedding_tuners(); }
  std::vector<ConvPart> conv_tuners() const override { return lora_->conv_tuners(); }
  std::vector<AttentionPart> attention_tuners() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override { return lora_->can_merge(); }
  void merge_into(const SiteTuner& part, LayerWeights& weights) const override {
    lora_->merge_into(part, weights);
  }
  void merge_into(const EmbeddingPart& part, LayerWeights& weights) const override {
    lora_->merge_into(part, weights);
  }
  void merge_into(const ConvPart& part, LayerWeights& weights) const override {
    lora_->merge_into(part, weights);
  }
  at::Tensor delta_weight(const SiteTuner& part) const override {
    return lora_->delta_weight(part);
  }
  void loaded() override { lora_->loaded(); }

 private:
  /// A base parameter that trains in full, and every slot that stands for it.
  struct Copy {
    std::vector<ParameterSlot*> slots;  ///< The first one names it.
    at::Tensor value;
  };

  LongLoraAdapter(const TunerOptions& options, std::unique_ptr<Adapter> lora)
      : options_(options), lora_(std::move(lora)) {}
  Status copy_parameters(BaseModel& base);
  void replace_attention(BaseModel& base);

  TunerOptions options_;  ///< Resolved for the model.
  std::unique_ptr<Adapter> lora_;
  std::vector<Copy> copies_;
  struct Attention {
    AttentionSite* site = nullptr;
    std::unique_ptr<ShiftedSparseAttention> tuner;
  };
  std::vector<Attention> attention_;
};

}  // namespace tunefleet::tuners

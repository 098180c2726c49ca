#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/lora_options.h"
#include "tuners/embedding_layer_tuner.h"
#include "tuners/linear_adapter.h"
#include "tuners/lora_conv.h"
#include "tuners/token_rows.h"

namespace tunefleet::tuners {

/// LoRA on a whole model: an update at every target, which may be linear layers, embeddings and
/// 2-D convolutions; rows of embeddings (trainable_token_indices); and what the options train in
/// full beside them (modules_to_save, biases).
class LoraAdapter : public LinearAdapter {
 public:
  /// A fresh adapter's options are checked against the layers' sizes; what PEFT saved is taken as
  /// it is. kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  /// Of embeddings, linear layers, convolutions, token rows, saved modules and biases, with LoRA+'s
  /// learning rates: of embeddings' factors lorap_emb_lr, of B, magnitudes, biases and other
  /// vectors lorap_lr_ratio times the job's.
  std::vector<AdapterTensor> tensors() const override;
  std::vector<SiteTuner> linear_tuners() const override;
  std::vector<EmbeddingPart> embedding_tuners() const override;
  std::vector<ConvPart> conv_tuners() const override;
  bool can_merge() const override;
  void merge_into(const EmbeddingPart& part, LayerWeights& weights) const override;
  void merge_into(const ConvPart& part, LayerWeights& weights) const override;
  using LinearAdapter::merge_into;

 private:
  using LinearAdapter::LinearAdapter;
  const LoraOptions& lora() const { return options().as<LoraOptions>(); }
  Status add_embeddings(const AdapterRequest& request);
  Status add_convolutions(const AdapterRequest& request);
  Status add_tokens(BaseModel& base);
  bool is_target(const std::string& path) const;

  struct Embedding {
    EmbeddingSite* site = nullptr;
    std::unique_ptr<EmbeddingLayerTuner> tuner;
  };
  struct Convolution {
    ConvSite* site = nullptr;
    std::unique_ptr<LoraConv> tuner;
  };
  std::vector<Embedding> embeddings_;
  std::vector<Convolution> convolutions_;
  TokenParts tokens_;
};

}  // namespace tunefleet::tuners

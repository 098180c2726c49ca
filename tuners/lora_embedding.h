#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tuners/embedding_layer_tuner.h"
#include "tuners/lora.h"
#include "tuners/row_norm.h"

namespace tunefleet::tuners {

/// LoRA on an embedding: row i becomes W_i + scaling * B A_i, A_i a column of A.
/// Shapes: A [r, V], zero at the start; B [C, r], N(0, 1) at the start. There is no dropout: PEFT
/// has none. With DoRA each of the C columns is rescaled to its magnitude.
class LoraEmbedding : public EmbeddingLayerTuner {
 public:
  /// Settings as LoraLinear's; init `false` draws A from N(0, 1) too, all other words are `true`.
  LoraEmbedding(const EmbeddingSite& site, const std::string& adapter_name,
                LoraLinear::Settings settings, uint64_t seed);

  at::Tensor forward(const at::Tensor& ids, const TensorNext& next,
                     const ForwardContext& context) const override;
  void merge_into(LayerWeights& weights) const override;
  std::vector<LayerTensor> tensors() const override;

 private:
  std::vector<ScaledFactors> additions() const;
  at::Tensor rescaling() const;  ///< [C] float32

  LoraLinear::Settings settings_;
  at::Tensor a_;
  at::Tensor b_;
  at::Tensor magnitude_;  ///< [C] or undefined.
  RowNorm norm_;          ///< Of the embedding's columns.
};

}  // namespace tunefleet::tuners

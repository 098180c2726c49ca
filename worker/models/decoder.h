#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/sites.h"
#include "worker/kernels/linear_cross_entropy.h"
#include "worker/models/decoder_layers.h"
#include "worker/models/model_config.h"
#include "worker/models/rope_table.h"
#include "worker/models/token_batch.h"
#include "worker/models/virtual_tokens.h"

namespace tunefleet::models {

struct LoadOptions {
  at::ScalarType dtype = at::kFloat;  ///< float32 or bfloat16.
  at::Device device = at::kCPU;
};

/// Keys and values of the tokens seen so far, of one sequence: what generation keeps between
/// tokens.
struct KvCache {
  struct Layer {
    at::Tensor keys, values;  ///< [capacity, KH, D]; the first `length` rows are filled.
  };
  std::vector<Layer> layers;
  int64_t length = 0;
  int64_t capacity = 0;
};

/// The losses of a batch's labelled tokens, sequence by sequence.
struct TokenLosses {
  at::Tensor losses;                 ///< -log p of each, float32 [M].
  std::vector<int64_t> in_sequence;  ///< How many each sequence has; M in all.
};

/// A causal language model of the Llama family (llama, qwen2, qwen3, mistral), with sites for
/// tuners. Numbers are those of Hugging Face's modeling code. All tokens of a batch lie flat, [N,
/// C]: there is no padding. Not thread-safe while tuners are attached or detached; forward passes
/// may run side by side.
class Decoder : public tuners::BaseModel {
 public:
  /// Loads a Hugging Face directory. Weights in the wanted dtype are mapped, not copied. Errors
  /// name the file and the tensor that is missing or has another shape than config.json says.
  static Result<std::unique_ptr<Decoder>> load(const std::filesystem::path& directory,
                                               const LoadOptions& options);

  const ModelConfig& config() const { return config_; }
  at::Device device() const { return embed_tokens_.weight.base.device(); }
  at::ScalarType dtype() const { return embed_tokens_.weight.base.scalar_type(); }

  /// The last layer's output before the final norm, [N, C]. With `cache`: the batch is the next
  /// part of the one cached sequence. `checkpoint_anchor`, when defined, requires a gradient and
  /// turns gradient checkpointing on.
  at::Tensor hidden_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                           KvCache* cache = nullptr,
                           const at::Tensor& checkpoint_anchor = {}) const;
  /// Final norm and output embedding: [M, C] -> [M, V].
  at::Tensor logits(const at::Tensor& hidden, const tuners::ForwardContext& context) const;
  /// scale * summed cross-entropy of the labelled tokens of `batch`, a float32 scalar; `sums` is
  /// added to.
  at::Tensor loss(const TokenBatch& batch, const tuners::ForwardContext& context, double scale,
                  kernels::CrossEntropySums* sums, const at::Tensor& checkpoint_anchor = {}) const;
  /// The loss of each labelled token of `batch`, differentiable.
  TokenLosses token_losses(const TokenBatch& batch, const tuners::ForwardContext& context,
                           const at::Tensor& checkpoint_anchor = {}) const;
  /// An empty cache for `capacity` tokens.
  KvCache make_cache(int64_t capacity) const;

  std::vector<tuners::LinearSite*> linear_sites() override;
  std::vector<tuners::ParameterSlot*> parameters() override;
  std::vector<tuners::EmbeddingSite*> embedding_sites() override { return {&embed_tokens_}; }
  /// Of every layer: itself, its self_attn, its mlp.
  std::vector<tuners::ModuleSite*> module_sites() override;
  std::vector<tuners::AttentionSite*> attention_sites() override;
  tuners::SequenceSite* sequence_site() override { return &sequence_; }
  tuners::LayerList* layer_list() override { return &layers_; }
  std::string output_embedding() const override { return "lm_head"; }
  std::string model_type() const override { return config_.model_type; }
  std::string name_or_path() const override { return name_or_path_; }

 private:
  explicit Decoder(ModelConfig config);
  friend class WeightLoader;

  /// What all layers of one forward pass share. Held by gradient checkpoints until backward.
  struct Pass {
    tuners::ForwardContext context;
    RopeTable::Angles angles;
    VirtualTokens prefix;  ///< Of prefix tuning: virtual tokens that are only keys and values.
    int64_t cached = 0;    ///< Tokens in the cache before this pass.
  };
  /// What one layer works on beside its input.
  struct LayerState {
    KvCache::Layer* cache = nullptr;             ///< Null: without one.
    const tuners::KeysValues* prefix = nullptr;  ///< Of prefix tuning; null: none.
  };

  /// What predicts the labelled tokens of a batch.
  struct LabelledStates {
    at::Tensor hidden;                 ///< [M, C], before the final norm.
    at::Tensor targets;                ///< int64 [M]
    std::vector<int64_t> in_sequence;  ///< How many each sequence has.
    tuners::ForwardContext context;    ///< For the output embedding: the keys of these rows.
  };

  Pass make_pass(const TokenBatch& batch, const tuners::ForwardContext& context,
                 const KvCache* cache) const;
  /// The embeddings of the batch, virtual tokens in front where a tuner has them: then `pass` and
  /// `prompt` become those of the longer batch.
  at::Tensor embed(const TokenBatch& batch, Pass& pass, VirtualTokens& prompt) const;
  /// hidden_states() with the virtual tokens of a prompt still in it: `prompt` says where.
  at::Tensor all_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                        KvCache* cache, const at::Tensor& checkpoint_anchor,
                        VirtualTokens& prompt) const;
  LabelledStates labelled_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                                 const at::Tensor& checkpoint_anchor) const;
  bool fuses_head(const tuners::ForwardContext& context) const;
  void start_cache(KvCache& cache, const std::vector<tuners::KeysValues>& prefix) const;
  at::Tensor run_layer(size_t index, const at::Tensor& x, const Pass& pass,
                       const LayerState& state) const;
  at::Tensor checkpointed_layer(size_t index, const at::Tensor& x,
                                const std::shared_ptr<const Pass>& pass,
                                const tuners::KeysValues* prefix, const at::Tensor& anchor) const;
  at::Tensor self_attention(size_t index, const at::Tensor& x, const Pass& pass,
                            const LayerState& state) const;
  at::Tensor attend(size_t index, const tuners::AttentionInput& input, const Pass& pass,
                    const tuners::KeysValues* prefix) const;
  at::Tensor normed(const at::Tensor& x, const tuners::ParameterSlot& weight,
                    const tuners::ForwardContext& context) const;
  at::Tensor mlp(const DecoderLayer& layer, const at::Tensor& x,
                 const tuners::ForwardContext& context) const;

  ModelConfig config_;
  RopeTable rope_;
  std::string name_or_path_;
  tuners::EmbeddingSite embed_tokens_;
  tuners::ParameterSlot final_norm_;
  DecoderLayers layers_;
  tuners::LinearSite lm_head_;
  tuners::SequenceSite sequence_;
};

}  // namespace tunefleet::models

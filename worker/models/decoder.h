#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/sites.h"
#include "worker/kernels/linear_cross_entropy.h"
#include "worker/models/model_config.h"
#include "worker/models/rope_table.h"
#include "worker/models/token_batch.h"

namespace tunefleet::models {

struct LoadOptions {
  at::ScalarType dtype = at::kFloat;  ///< float32 or bfloat16.
  at::Device device = at::kCPU;
};

/// The parts of one layer; paths are "model.layers.<i>.…".
struct DecoderLayer {
  tuners::ParameterSlot input_norm, post_attention_norm;
  tuners::ParameterSlot q_norm, k_norm;  ///< Base undefined without qk_norm.
  tuners::LinearSite q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  int64_t window = 0;  ///< Sliding window; 0: none.
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
  at::Device device() const { return embedding_.base.device(); }
  at::ScalarType dtype() const { return embedding_.base.scalar_type(); }

  /// The last layer's output before the final norm, [N, C]. With `cache`: the batch is the next
  /// part of the one cached sequence. `checkpoint_anchor`, when defined, requires a gradient and
  /// turns gradient checkpointing on: then batch and context must live until backward is done.
  at::Tensor hidden_states(const TokenBatch& batch, const tuners::ForwardContext& context,
                           KvCache* cache = nullptr,
                           const at::Tensor& checkpoint_anchor = {}) const;
  /// Final norm and output embedding: [M, C] -> [M, V].
  at::Tensor logits(const at::Tensor& hidden, const tuners::ForwardContext& context) const;
  /// scale * summed cross-entropy of the labelled tokens of `batch`, a float32 scalar; `sums` is
  /// added to.
  at::Tensor loss(const TokenBatch& batch, const tuners::ForwardContext& context, double scale,
                  kernels::CrossEntropySums* sums, const at::Tensor& checkpoint_anchor = {}) const;
  /// An empty cache for `capacity` tokens.
  KvCache make_cache(int64_t capacity) const;

  std::vector<tuners::LinearSite*> linear_sites() override;
  std::vector<tuners::ParameterSlot*> parameters() override;
  std::string output_embedding() const override { return "lm_head"; }
  std::string model_type() const override { return config_.model_type; }
  std::string name_or_path() const override { return name_or_path_; }

 private:
  explicit Decoder(ModelConfig config);
  friend class WeightLoader;

  at::Tensor run_layer(const DecoderLayer& layer, const at::Tensor& x, const TokenBatch& batch,
                       const RopeTable::Angles& angles, const tuners::ForwardContext& context,
                       KvCache::Layer* cache, int64_t cached) const;
  at::Tensor attention(const DecoderLayer& layer, const at::Tensor& x, const TokenBatch& batch,
                       const RopeTable::Angles& angles, const tuners::ForwardContext& context,
                       KvCache::Layer* cache, int64_t cached) const;

  ModelConfig config_;
  RopeTable rope_;
  std::string name_or_path_;
  tuners::ParameterSlot embedding_, final_norm_;
  std::vector<DecoderLayer> layers_;
  tuners::LinearSite lm_head_;
};

}  // namespace tunefleet::models

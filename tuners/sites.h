#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tuners/maps/linear_map.h"
#include "tuners/per_thread.h"
#include "tuners/maps/weight_map.h"

/// The places of a base model where a tuner may act. Models (worker/models) own the sites and run
/// them; tuners attach to them. Every tuner at a site is a wrapper around the rest of the site,
/// (input, next) -> output. Paths are Hugging Face's.
namespace tunefleet::tuners {

/// Offsets of sequences that lie one behind the other in a flat batch: sequences + 1 numbers, 0 …
/// N.
using Boundaries = std::vector<int32_t>;

/// How something is computed that has two implementations of equal results.
enum class Kernels {
  kFused,  ///< One node of the graph, with a backward pass of its own.
  kPlain,  ///< torch's operations, differentiated by torch.
};

struct ForwardContext;
/// Differentiable dropout whose mask depends on (seed, step, stream, token, column) alone.
using DropoutFunction = at::Tensor (*)(const at::Tensor& x, const ForwardContext& context,
                                       uint64_t stream, double p);

/// What one forward pass carries beside its tensors. All tokens of a micro-batch lie flat, [N],
/// without padding.
struct ForwardContext {
  bool training = false;
  uint64_t seed = 0;
  int64_t step = 0;  ///< Optimizer step: with seed, stream and token_keys it decides every draw.
  /// int64 [N] on the CPU: (row id << 32) + position. Names a token on any rank; needed when
  /// training with draws.
  at::Tensor token_keys = {};
  std::shared_ptr<const Boundaries> boundaries = nullptr;  ///< Filled in by the model.
  DropoutFunction dropout_function = nullptr;              ///< Likewise.
  /// Norms, rotary embedding, SwiGLU and loss of the base model (use_liger_kernel).
  Kernels base_kernels = Kernels::kFused;
  /// Low-rank updates of linear layers (tuner_backend).
  Kernels lora_kernels = Kernels::kFused;

  /// x [N, C] with elements dropped with probability p in training, x itself otherwise.
  at::Tensor dropout(const at::Tensor& x, uint64_t stream, double p) const;
};

/// A tensor in the place of a base parameter, undefined for none; of this thread, where threads
/// have adapters of their own.
class OverrideValue {
 public:
  bool defined() const { return value_.get().defined(); }
  const at::Tensor& get() const { return value_.get(); }
  at::Tensor& get() { return value_.get(); }
  // NOLINTNEXTLINE(google-explicit-constructor)
  operator const at::Tensor&() const { return get(); }
  OverrideValue& operator=(at::Tensor value) {
    value_ = std::move(value);
    return *this;
  }
  at::Tensor detach() const { return get().detach(); }
  void reset() { value_.get().reset(); }
  void give_each_thread_its_own() { value_.give_each_thread_its_own(); }
  void share_among_threads() { value_.share_among_threads(); }

 private:
  PerThread<at::Tensor> value_;
};

/// One named parameter of the base. `override_value`, when defined, is used in its place: the
/// trainable copy that modules_to_save makes of it. The base tensor itself is never trained and
/// never changed but by merging.
struct ParameterSlot {
  std::string path;  ///< "model.layers.0.self_attn.q_proj.weight"
  at::Tensor base;
  OverrideValue override_value;
  const at::Tensor& value() const { return override_value.defined() ? override_value.get() : base; }
};

using TensorNext = std::function<at::Tensor(const at::Tensor&)>;

// ---- Linear layers --------------------------------------------------------------------------

/// y += scaling * (B(A(dropout(x))) + bias): what the fused linear kernel takes any number of.
struct LowRankUpdate {
  at::Tensor a;  ///< [r, in], float32 or the base's dtype.
  at::Tensor b;  ///< [out, r]
  double scaling = 1.0;
  double dropout = 0.0;  ///< Of x, in training.
  uint64_t stream = 0;   ///< Of the dropout's draws.
  at::Tensor bias = {};  ///< [out], or undefined.
  /// DoRA, both float32 [out] or undefined: with the update, each output is scaled by magnitude /
  /// norm, but for the base's bias (see kernels/dora_linear.h). norm takes no gradient.
  at::Tensor magnitude = {}, norm = {};
  std::vector<LowRankUpdate> more = {};  ///< Further updates that are part of the same tuner.
};

using LinearNext = TensorNext;

/// A tuner at one linear site: a wrapper around the rest of the site, (x, next) -> y.
class LinearTuner {
 public:
  virtual ~LinearTuner() = default;
  /// The tuner as a low-rank update, if that is all it is in this pass: then `forward` is not
  /// called.
  virtual std::optional<LowRankUpdate> low_rank() const { return std::nullopt; }
  /// The tuner as an addition to the weight, if that is all it is in this pass: one product with
  /// the sum of all then takes the place of `forward`.
  virtual std::optional<WeightUpdate> weight_update(const ForwardContext&) const {
    return std::nullopt;
  }
  /// The tuner as a linear map of x that is added to the output, if that is all it is: then
  /// `forward` is not called.
  virtual std::optional<MappedUpdate> mapped() const { return std::nullopt; }
  /// x [N, in] -> y [N, out].
  virtual at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                             const ForwardContext& context) const = 0;
};

/// A linear layer of the base, y = x W^T + b, and the tuners that act at it.
struct LinearSite {
  std::string path;      ///< "model.layers.0.self_attn.q_proj"
  ParameterSlot weight;  ///< [out, in]
  ParameterSlot bias;    ///< [out]; base undefined when the layer has none.
  /// Active tuners, outermost first. Owned by their adapters; SwiftModel adds and removes them.
  TunerList<LinearTuner> tuners;

  int64_t in_features() const { return weight.base.size(1); }
  int64_t out_features() const { return weight.base.size(0); }
};

// ---- Embeddings -----------------------------------------------------------------------------

/// A tuner at an embedding: (ids int64 [N], next) -> [N, C].
class EmbeddingTuner {
 public:
  virtual ~EmbeddingTuner() = default;
  virtual at::Tensor forward(const at::Tensor& ids, const TensorNext& next,
                             const ForwardContext& context) const = 0;
};

struct EmbeddingSite {
  std::string path;      ///< "model.embed_tokens"
  ParameterSlot weight;  ///< [V, C]; a tied output embedding has its own slot on the same tensor.
  TunerList<EmbeddingTuner> tuners;  ///< Outermost first.
};

// ---- Convolutions ---------------------------------------------------------------------------

/// A tuner at a 2-D convolution: (x [B, in, H, W], next) -> [B, out, H', W'].
class ConvTuner {
 public:
  virtual ~ConvTuner() = default;
  virtual at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                             const ForwardContext& context) const = 0;
};

struct ConvSite {
  std::string path;
  ParameterSlot weight;  ///< [out, in / groups, kh, kw]
  ParameterSlot bias;    ///< [out]; base undefined when there is none.
  std::vector<int64_t> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  int64_t groups = 1;
  TunerList<ConvTuner> tuners;  ///< Outermost first.
};

// ---- Whole modules: a decoder's layer, its attention, its MLP, any block of a small network ----

/// A tuner around a module with one tensor in and one out. In a decoder both are [N, C].
class ModuleTuner {
 public:
  virtual ~ModuleTuner() = default;
  virtual at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                             const ForwardContext& context) const = 0;
  /// What the module's attention mask [..., T] becomes, for modules that take one.
  virtual at::Tensor attention_mask(const at::Tensor& mask) const { return mask; }
};

struct ModuleSite {
  std::string path;               ///< "model.layers.0", "model.layers.0.mlp"
  TunerList<ModuleTuner> tuners;  ///< Outermost first.

  /// The mask through all tuners: what a model with masks calls beside run_tuners.
  at::Tensor attention_mask(at::Tensor mask) const {
    for (const ModuleTuner* tuner : tuners) mask = tuner->attention_mask(mask);
    return mask;
  }
};

// ---- Attention ------------------------------------------------------------------------------

/// Queries, keys and values of a flat batch, positions already rotated in.
struct AttentionInput {
  at::Tensor q;                                  ///< [N, H, D]
  at::Tensor k;                                  ///< [N, KH, D]; H is a multiple of KH.
  at::Tensor v;                                  ///< [N, KH, D]
  std::shared_ptr<const Boundaries> boundaries;  ///< Each sequence sees only itself, causally.
};
using AttentionNext = std::function<at::Tensor(const AttentionInput&)>;

/// A tuner around scaled-dot-product attention: (input, next) -> [N, H * D]. Not called in
/// generation with a cache.
class AttentionTuner {
 public:
  virtual ~AttentionTuner() = default;
  virtual at::Tensor forward(const AttentionInput& input, const AttentionNext& next,
                             const ForwardContext& context) const = 0;
};

struct AttentionSite {
  std::string path;  ///< "model.layers.0.self_attn"
  int64_t num_heads = 0, num_key_value_heads = 0, head_dim = 0;
  TunerList<AttentionTuner> tuners;  ///< Outermost first.
};

// ---- The sequence: virtual tokens before the real ones
// -------------------------------------------

struct KeysValues {
  at::Tensor keys;    ///< [P, KH, D]
  at::Tensor values;  ///< [P, KH, D]
};

/// Virtual tokens in front of every sequence. Real tokens then stand at positions P, P + 1, …
class SequenceTuner {
 public:
  virtual ~SequenceTuner() = default;
  virtual int64_t virtual_tokens() const = 0;  ///< P
  /// [P, C] that stand before a sequence's embeddings and go through all layers (prompt tuning).
  /// Undefined: the virtual tokens are only keys and values.
  virtual at::Tensor embeddings(const ForwardContext&) const { return {}; }
  /// Layers for which there are keys and values; 0: there are none.
  virtual int64_t layers() const { return 0; }
  /// What every token of each layer sees before its sequence (prefix tuning).
  virtual std::vector<KeysValues> keys_values(const ForwardContext&) const { return {}; }
};

struct SequenceSite {
  int64_t hidden_size = 0, num_layers = 0, num_heads = 0, num_key_value_heads = 0, head_dim = 0;
  const SequenceTuner* tuner = nullptr;  ///< At most one is active at a time.
};

// ---- The list of layers -----------------------------------------------------------------------

/// A copy of one layer that may stand in the list. Its tensors belong to it.
class BlockCopy {
 public:
  virtual ~BlockCopy() = default;
  /// In module order; paths are those of the place it was inserted at, or of its original.
  virtual std::vector<ParameterSlot*> parameters() = 0;
  /// Whether a site or a slot is part of it.
  virtual bool owns(const void* part) const = 0;
};

/// A model's stack of equal layers.
class LayerList {
 public:
  struct Insertion {
    int64_t after = 0;  ///< Index in the original list.
    BlockCopy* block = nullptr;
  };

  virtual ~LayerList() = default;
  virtual std::string path() const = 0;  ///< "model.layers"
  virtual int64_t size() const = 0;      ///< Of the original list.
  /// For each layer that stands in the list now, the number of the loaded layer that it is or was
  /// copied from: 0 0 1 2 2 … . What per-layer settings of the model's configuration follow.
  virtual std::vector<int64_t> origins() const = 0;
  /// A deep copy of the original layer `index`, not in the list.
  virtual std::unique_ptr<BlockCopy> copy(int64_t index) = 0;
  /// The original list with these blocks in it, which outlive their stay; none: the plain list
  /// again. All paths are numbered anew; sites and slots stay where they are in memory.
  virtual void insert(const std::vector<Insertion>& insertions) = 0;
  /// Makes the list as it stands the original one. `blocks`: those that stand in it.
  virtual void adopt(std::vector<std::unique_ptr<BlockCopy>> blocks) = 0;
};

/// A base model as tuners see it. Sites and slots live as long as the model.
class BaseModel {
 public:
  virtual ~BaseModel() = default;
  /// All linear sites in module order, the output embedding (lm_head) included, also when it is
  /// tied.
  virtual std::vector<LinearSite*> linear_sites() = 0;
  /// Every parameter once per path, in module order; a tied lm_head has its own slot on the shared
  /// tensor.
  virtual std::vector<ParameterSlot*> parameters() = 0;
  virtual std::vector<EmbeddingSite*> embedding_sites() { return {}; }
  virtual std::vector<ConvSite*> conv_sites() { return {}; }
  virtual std::vector<ModuleSite*> module_sites() { return {}; }
  virtual std::vector<AttentionSite*> attention_sites() { return {}; }
  virtual SequenceSite* sequence_site() { return nullptr; }  ///< Null: takes no virtual tokens.
  virtual LayerList* layer_list() { return nullptr; }        ///< Null: has no list of layers.
  /// Path of the output embedding ("lm_head"): not part of all-linear.
  virtual std::string output_embedding() const = 0;
  /// config.json's model_type ("llama"), and the directory or name it was loaded from.
  virtual std::string model_type() const = 0;
  virtual std::string name_or_path() const = 0;
};

/// The input through all tuners of a site and then through `innermost`.
template <typename Tuner>
at::Tensor run_tuners(const TunerList<Tuner>& tuners, const at::Tensor& input,
                      const TensorNext& innermost, const ForwardContext& context,
                      size_t first = 0) {
  if (first == tuners.size()) return innermost(input);
  return tuners[first]->forward(
      input,
      [&](const at::Tensor& x) { return run_tuners(tuners, x, innermost, context, first + 1); },
      context);
}

}  // namespace tunefleet::tuners

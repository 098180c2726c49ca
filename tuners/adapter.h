#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tuners/config/tuner_options.h"
#include "tuners/config/tuner_schema.h"
#include "tuners/quantization/int8_weight.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// One tensor of an adapter.
struct AdapterTensor {
  /// In PEFT's files, without prefix and adapter name: "model.layers.0.q_proj.lora_A.weight".
  std::string key;
  /// In the model: "model.layers.0.q_proj.lora_A.default.weight". Unique among a model's adapters.
  std::string path;
  at::Tensor tensor;      ///< Loading and training change it in place; a leaf when it trains.
  bool decay = true;      ///< Whether weight decay applies (not to biases and norms).
  double lr_scale = 1.0;  ///< Its learning rate over the job's (LoRA+).
  /// In ms-swift's files, with {} where the adapter's name stands:
  /// "model.layers.0.q_proj.lora_A.{}.weight". Empty: `key`.
  std::string swift_key = {};
  std::string_view peft_prefix = "base_model.model.";  ///< "base_model." for what all layers share.
  bool trains = true;       ///< False: only saved (fixed projections, indices).
  bool saved = true;        ///< False: trains but is in no file (PEFT leaves it out).
  bool optional = false;    ///< May be missing from a file; then it keeps its value.
  bool swift_only = false;  ///< Not in PEFT's layout, which has no place for it.
  bool derived = false;     ///< Does not train itself, but follows from what does.
  double lr = 0.0;          ///< Its learning rate itself when above 0 (LoRA+'s embeddings).
  /// When set the values lie here, and `tensor` is its stand-in (TrainableTensor::int8).
  std::shared_ptr<Int8Weight> int8 = nullptr;
};

/// A tuner at one site.
template <typename Site, typename Tuner>
struct SitePart {
  Site* site = nullptr;
  const Tuner* tuner = nullptr;
};
using SiteTuner = SitePart<LinearSite, LinearTuner>;
using EmbeddingPart = SitePart<EmbeddingSite, EmbeddingTuner>;
using ConvPart = SitePart<ConvSite, ConvTuner>;
using ModulePart = SitePart<ModuleSite, ModuleTuner>;
using AttentionPart = SitePart<AttentionSite, AttentionTuner>;

/// A tensor used in the place of a base parameter while the adapter is active.
struct ParameterOverride {
  ParameterSlot* slot = nullptr;
  at::Tensor value;
};

/// A layer's parameters on the way to being merged, in float32; bias undefined when there is none.
struct LayerWeights {
  at::Tensor weight;
  at::Tensor bias;
};

/// Where and how an adapter is to be made.
struct AdapterRequest {
  BaseModel& base;
  std::string name;
  uint64_t seed = 0;
  bool fresh = true;  ///< False: its values come from a file next.
};

/// Where training stands, for adapters that follow a schedule.
struct StepInfo {
  int64_t step = 0;       ///< Optimizer steps done before this one.
  int64_t max_steps = 0;  ///< Of the whole run.
  uint64_t seed = 0;
};

/// One named adapter on a base model: what SwiftModel needs to know of any tuner. An adapter only
/// says what it consists of; SwiftModel alone installs, merges and removes the parts, so that no
/// adapter need know of another. Owns its tensors; the sites and slots it names belong to the base
/// model, which lives longer.
class Adapter {
 public:
  virtual ~Adapter() = default;

  virtual const std::string& name() const = 0;
  /// The options as resolved for this model (all-linear as names): what its configuration file
  /// says.
  virtual const TunerOptions& options() const = 0;
  /// The text of adapter_config.json.
  virtual std::string config_text(FileLayout layout) const {
    return tuners::config_text(options(), layout);
  }
  /// Every tensor, in an order that depends on model and options only.
  virtual std::vector<AdapterTensor> tensors() const = 0;

  // What it consists of.
  virtual std::vector<SiteTuner> linear_tuners() const { return {}; }
  virtual std::vector<EmbeddingPart> embedding_tuners() const { return {}; }
  virtual std::vector<ConvPart> conv_tuners() const { return {}; }
  virtual std::vector<ModulePart> module_tuners() const { return {}; }
  virtual std::vector<AttentionPart> attention_tuners() const { return {}; }
  virtual const SequenceTuner* sequence_tuner() const { return nullptr; }
  virtual std::vector<LayerList::Insertion> insertions() const { return {}; }
  /// Gives up the blocks of insertions(), for good: the base takes them over.
  virtual std::vector<std::unique_ptr<BlockCopy>> release_blocks() { return {}; }
  virtual std::vector<ParameterOverride> overrides() const { return {}; }

  /// Whether a model takes one of its kind only.
  virtual bool is_single() const { return false; }
  /// Whether tensors() are the base's own parameters, by path, and nothing beside them (full
  /// tuning).
  virtual bool replaces_base() const { return false; }
  /// Whether every part of it can become part of the base's weights.
  virtual bool can_merge() const { return false; }
  /// Makes the part's effect part of the layer's weights, which hold what is inside of it already.
  /// Called only when can_merge(); the default adds delta_weight().
  virtual void merge_into(const SiteTuner& part, LayerWeights& weights) const {
    weights.weight = weights.weight.add(delta_weight(part));
  }
  virtual void merge_into(const EmbeddingPart&, LayerWeights&) const {}
  virtual void merge_into(const ConvPart&, LayerWeights&) const {}
  /// What merging adds to the weight of `part`'s site when that does not depend on what else is
  /// merged: [out, in] float32.
  virtual at::Tensor delta_weight(const SiteTuner& /*part*/) const { return {}; }

  // The steps of training.
  /// Before the forward pass; true when what trains has changed.
  virtual bool before_step(const StepInfo&) { return false; }
  /// What is added to a step's loss, once: a differentiable scalar, undefined for none.
  virtual at::Tensor regularization() const { return {}; }
  /// After the gradients of all ranks are summed and before the optimizer's update; true when what
  /// trains has changed.
  virtual bool after_backward(const StepInfo&) { return false; }
  /// After the optimizer's update, with the gradients still there; true when what trains has
  /// changed.
  virtual bool after_step(const StepInfo&) { return false; }
  /// What a resumed run needs beside tensors(): the path names the tensor, filled in place.
  virtual std::vector<AdapterTensor> state() const { return {}; }
  /// After tensors() and state() have been filled from files. Throws std::invalid_argument when
  /// what they brought cannot be.
  virtual void loaded() {}
};

}  // namespace tunefleet::tuners

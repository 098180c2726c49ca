#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// The places of a base model where a tuner may act. Models (worker/models) own the sites and run them
/// (worker/models/linear.h); tuners attach to them. Paths are Hugging Face's.
namespace tunefleet::tuners {

/// What one forward pass carries beside its tensors. All tokens of a micro-batch lie flat, [N], without padding.
struct ForwardContext {
  bool training = false;
  uint64_t seed = 0;
  int64_t step = 0;        ///< Optimizer step: with seed, stream and token_keys it decides every draw.
  at::Tensor token_keys = {};  ///< int64 [N] on the CPU: (row id << 32) + position. Names a token on any rank; needed when training with dropout.
};

/// One named parameter of the base. `override_value`, when defined, is used in its place: the trainable copy
/// that modules_to_save makes of it. The base tensor itself is never trained and never changed but by merging.
struct ParameterSlot {
  std::string path;           ///< "model.layers.0.self_attn.q_proj.weight"
  at::Tensor base;
  at::Tensor override_value;
  const at::Tensor& value() const { return override_value.defined() ? override_value : base; }
};

/// y += scaling * B(A(dropout(x))): what the fused linear kernel takes any number of.
struct LowRankUpdate {
  at::Tensor a;             ///< [r, in], float32 or the base's dtype.
  at::Tensor b;             ///< [out, r]
  double scaling = 1.0;
  double dropout = 0.0;     ///< Of x, in training.
  uint64_t stream = 0;      ///< Of the dropout's draws.
};

using LinearNext = std::function<at::Tensor(const at::Tensor&)>;

/// A tuner at one linear site: a wrapper around the rest of the site, (x, next) -> y.
class LinearTuner {
 public:
  virtual ~LinearTuner() = default;
  /// The tuner as a low-rank update, if that is all it is: then `forward` is not called.
  virtual std::optional<LowRankUpdate> low_rank() const { return std::nullopt; }
  /// x [N, in] -> y [N, out].
  virtual at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                             const ForwardContext& context) const = 0;
};

/// A linear layer of the base, y = x W^T + b, and the tuners that act at it.
struct LinearSite {
  std::string path;        ///< "model.layers.0.self_attn.q_proj"
  ParameterSlot weight;    ///< [out, in]
  ParameterSlot bias;      ///< [out]; base undefined when the layer has none.
  /// Active tuners, outermost first. Owned by their SwiftModel, which adds and removes them.
  std::vector<const LinearTuner*> tuners;

  int64_t in_features() const { return weight.base.size(1); }
  int64_t out_features() const { return weight.base.size(0); }
};

/// A base model as tuners see it.
class BaseModel {
 public:
  virtual ~BaseModel() = default;
  /// All linear sites in module order, the output embedding (lm_head) included, also when it is tied.
  virtual std::vector<LinearSite*> linear_sites() = 0;
  /// Every parameter once per path, in module order; a tied lm_head has its own slot on the shared tensor.
  virtual std::vector<ParameterSlot*> parameters() = 0;
  /// Path of the output embedding ("lm_head"): not part of all-linear.
  virtual std::string output_embedding() const = 0;
  /// config.json's model_type ("llama"), and the directory or name it was loaded from.
  virtual std::string model_type() const = 0;
  virtual std::string name_or_path() const = 0;
};

}  // namespace tunefleet::tuners

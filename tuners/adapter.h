#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "tuners/config/tuner_options.h"
#include "tuners/sites.h"

namespace tunefleet::tuners {

/// The two ways an adapter's folder is written: ms-swift's and PEFT's.
enum class FileLayout { kSwift, kPeft };

/// One tensor that an adapter trains and saves.
struct AdapterTensor {
  std::string
      key;  ///< In files, without prefix and adapter name: "model.layers.0.q_proj.lora_A.weight".
  std::string path;       ///< In the model: "model.layers.0.q_proj.lora_A.default.weight".
  at::Tensor tensor;      ///< A leaf; loading and training change it in place.
  bool decay = true;      ///< Whether weight decay applies (not to biases and norms).
  double lr_scale = 1.0;  ///< Its learning rate over the job's (LoRA+).
};

/// A tuner at one linear site.
struct SiteTuner {
  LinearSite* site = nullptr;
  const LinearTuner* tuner = nullptr;
};

/// A tensor used in the place of a base parameter while the adapter is active.
struct ParameterOverride {
  ParameterSlot* slot = nullptr;
  at::Tensor value;
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
  virtual std::string config_text(FileLayout layout) const = 0;
  /// Every tensor, in an order that depends on model and options only.
  virtual std::vector<AdapterTensor> tensors() const = 0;

  virtual std::vector<SiteTuner> linear_tuners() const { return {}; }
  virtual std::vector<ParameterOverride> overrides() const { return {}; }

  /// Whether every part of it can become part of the base's weights.
  virtual bool can_merge() const { return false; }
  /// What merging adds to the weight of `tuner`'s site: [out, in] float32. Called only when
  /// can_merge().
  virtual at::Tensor delta_weight(const SiteTuner&) const { return {}; }
};

}  // namespace tunefleet::tuners

#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/target_match.h"
#include "tuners/sites.h"

/// Parts of the base that an adapter trains in full, as copies: modules_to_save and biases.
namespace tunefleet::tuners {

/// The names by which matching knows `base`.
ModelModules model_modules(BaseModel& base);

/// A base parameter and its trainable copy. The copy is used in the base's place while the adapter
/// is active.
struct SavedParameter {
  ParameterSlot* slot = nullptr;
  std::string module;  ///< "lm_head"
  std::string name;    ///< "weight"
  at::Tensor copy;     ///< A leaf in the base's dtype that requires grad.
};

/// Copies the parameters of every module whose path ends with one of `names` (PEFT's rule: bare,
/// without a dot), and of all modules inside it. `all-norm` stands for the modules whose parameters
/// are vectors, `all-embedding` for those with a matrix that is not a linear layer's. A tied output
/// embedding gets a copy of its own and is tied no more. kInvalidArgument when a name selects
/// nothing.
Result<std::vector<SavedParameter>> copy_saved_modules(BaseModel& base,
                                                       const std::vector<std::string>& names);

/// Copies biases: of every layer for "all", of the layers in `targets` for "lora_only", none for
/// "none". Parameters in `taken` are left out: they train already.
std::vector<SavedParameter> copy_biases(BaseModel& base, const std::string& which,
                                        const std::vector<std::string>& targets,
                                        const std::vector<SavedParameter>& taken);

/// What an adapter trains in full beside its own tensors.
class SavedParts {
 public:
  /// By modules_to_save and bias of `selection`. `targets`: the layers the tuner acts on.
  /// kInvalidArgument when a module is both a target and saved, or a name selects nothing.
  static Result<SavedParts> make(BaseModel& base, const ModuleSelection& selection,
                                 const std::vector<std::string>& targets);

  /// The copies under the names that PEFT gives them.
  std::vector<AdapterTensor> tensors(const std::string& adapter_name) const;
  std::vector<ParameterOverride> overrides() const;
  /// The saved modules, each once.
  std::vector<std::string> module_names() const;

 private:
  std::vector<SavedParameter> saved_;
  std::vector<SavedParameter> biases_;
  std::vector<std::string> targets_;
};

/// Whether weight decay applies to a base parameter: not to biases, norms and other vectors.
bool has_weight_decay(const std::string& path, const at::Tensor& value);

}  // namespace tunefleet::tuners

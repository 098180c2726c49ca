#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/ln_tuning_options.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {

/// PEFT's LN tuning: the norms of a model (or whatever modules target_modules name) trained in
/// full, as copies that are used in the base's place while the adapter is active. Merging makes
/// them the base's.
/// Source: Zhao et al. 2023, arXiv:2312.11420; PEFT's tuners/ln_tuning.
class LnTuningAdapter : public Adapter {
 public:
  /// kInvalidArgument when target_modules select no module, or none is named and the model's type
  /// has no default.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override { return true; }

 private:
  LnTuningAdapter(TunerOptions options, std::string name, std::vector<SavedParameter> copies,
                  SavedParts saved)
      : name_(std::move(name)),
        options_(std::move(options)),
        copies_(std::move(copies)),
        saved_(std::move(saved)) {}

  std::string name_;
  TunerOptions options_;  ///< Resolved for the model.
  /// In module order; `module` is the target, `name` the rest of the parameter's path. Of norms in
  /// float32, for bfloat16 would swallow small steps; of other modules in the base's dtype.
  std::vector<SavedParameter> copies_;
  SavedParts saved_;  ///< modules_to_save.
};

}  // namespace tunefleet::tuners

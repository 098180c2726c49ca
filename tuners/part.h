#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/part_options.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {

/// ms-swift's Part: some modules of any model, trained in full. Every parameter in them has a copy
/// that is used in its place while the adapter is active; in files a copy has the parameter's own
/// name. Other tuners act on top of the copies. Merging makes the copies the base's.
class PartAdapter : public Adapter {
 public:
  /// kInvalidArgument when target_modules select no module with parameters.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override { return true; }

 private:
  PartAdapter(const TunerOptions& options, std::string name, std::vector<SavedParameter> copies)
      : name_(std::move(name)), options_(options), copies_(std::move(copies)) {}

  std::string name_;
  TunerOptions options_;
  /// In module order; `module` is the selected one, `name` the rest of the parameter's path.
  std::vector<SavedParameter> copies_;
};

}  // namespace tunefleet::tuners

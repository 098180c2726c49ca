#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/lora_options.h"
#include "tuners/lora.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {

/// LoRA on a whole model: a LoraLinear at every target, and what the options train in full beside
/// them (modules_to_save, biases).
class LoraAdapter : public Adapter {
 public:
  /// `fresh`: values are to be drawn and the options checked against the layers' sizes; otherwise
  /// they come from a file next and what PEFT saved is taken as it is. kInvalidArgument: the
  /// options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const LoraOptions& options, BaseModel& base,
                                               const std::string& name, uint64_t seed, bool fresh);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::string config_text(FileLayout layout) const override;
  /// A and B of every layer in module order, then saved modules, then biases.
  std::vector<AdapterTensor> tensors() const override;
  std::vector<SiteTuner> linear_tuners() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override { return true; }
  at::Tensor delta_weight(const SiteTuner& tuner) const override;

 private:
  LoraAdapter(std::string name, LoraOptions options)
      : name_(std::move(name)), options_(std::move(options)) {}
  const LoraOptions& lora() const { return std::get<LoraOptions>(options_); }
  Status add_layers(BaseModel& base, const std::vector<std::string>& targets, uint64_t seed,
                    bool fresh);
  Status add_saved(BaseModel& base, const std::vector<std::string>& targets);
  void name_saved_modules();
  void append_layer(std::vector<AdapterTensor>& tensors, const LinearSite& site,
                    const LoraLinear& layer) const;
  AdapterTensor saved_tensor(const SavedParameter& saved, bool is_bias) const;

  std::string name_;
  TunerOptions options_;  ///< A LoraOptions, resolved for the model.
  std::vector<std::pair<LinearSite*, std::unique_ptr<LoraLinear>>> layers_;  ///< In module order.
  std::vector<SavedParameter> saved_;
  std::vector<SavedParameter> biases_;
};

}  // namespace tunefleet::tuners

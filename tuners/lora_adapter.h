#pragma once

#include <memory>
#include <vector>

#include "proto/result.h"
#include "tuners/config/lora_options.h"
#include "tuners/linear_adapter.h"

namespace tunefleet::tuners {

/// LoRA on a whole model: a LoraLinear at every target, and what the options train in full beside
/// them (modules_to_save, biases).
class LoraAdapter : public LinearAdapter {
 public:
  /// A fresh adapter's options are checked against the layers' sizes; what PEFT saved is taken as
  /// it is. kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  /// As LinearAdapter's, with LoRA+'s learning rates.
  std::vector<AdapterTensor> tensors() const override;

 private:
  using LinearAdapter::LinearAdapter;
  const LoraOptions& lora() const { return options().as<LoraOptions>(); }
};

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's AdapterConfig: a small network behind modules (Houlsby et al. 2019,
/// arXiv:1902.00751). Field names and defaults are the file's; where ms-swift has no default, its
/// command line's.
struct BottleneckOptions {
  static const TunerSchema& schema();

  std::optional<int64_t> dim{};  ///< Width of the modules' output; unset: as the model has it.
  /// The modules: an expression for whole paths, or names at their ends.
  ModuleNames target_modules{.names = {"mlp"}, .regex = {}};
  NumberOrText hidden_pos{"0"};         ///< Which output is the hidden state; a site here has one.
  std::string method_name = "forward";  ///< Of the module in Python; a site here has one.
  int64_t adapter_length = 128;         ///< Width of the bottleneck.
  std::string act_layer = "gelu";       ///< One of activation_names().

  bool operator==(const BottleneckOptions&) const = default;
};

/// kInvalidArgument: nothing to act on.
Status validate(const BottleneckOptions& options);

}  // namespace tunefleet::tuners

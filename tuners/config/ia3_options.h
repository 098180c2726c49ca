#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's IA3Config; field names and defaults are the file's.
struct Ia3Options {
  /// Of the targets, those whose input is scaled instead of the output; unset: the model type's.
  std::optional<ModuleNames> feedforward_modules{};
  bool init_ia3_weights = true;  ///< False: N(0, 1) instead of ones.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const Ia3Options&) const = default;
  static const TunerSchema& schema();
};

/// IA3's own targets and feed-forward modules by config.json's model_type, where none are named.
/// Unknown types are left as they are.
Ia3Options with_ia3_defaults(Ia3Options options, std::string_view model_type);

/// Whether the layer at `path` is scaled at its input: names are compared with the end of the path,
/// without regard to dots; an expression with the whole path. kInvalidArgument: it does not
/// compile.
Result<bool> is_feedforward(const Ia3Options& options, const std::string& path);

}  // namespace tunefleet::tuners

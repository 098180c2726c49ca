#pragma once

#include <cstdint>
#include <string>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's SideConfig: a small network beside a module (Side-Tuning, Zhang et al. 2019,
/// arXiv:1912.13503). Field names and defaults are the file's.
struct SideOptions {
  static const TunerSchema& schema();

  int64_t dim = 0;  ///< Width of the module's output.
  /// The modules: an expression for whole paths (what files have), or names.
  ModuleNames target_modules{};
  std::string side_module_name = "fcn4";  ///< fcn4 | mlp | alexnet
  NumberOrText source_hidden_pos{"0"};  ///< Which argument is its input; a site here has only one.
  NumberOrText target_hidden_pos{"0"};  ///< Likewise of the module's outputs.

  bool operator==(const SideOptions&) const = default;
};

/// kInvalidArgument, naming the option: nothing to act on, no width.
Status validate(const SideOptions& options);

}  // namespace tunefleet::tuners

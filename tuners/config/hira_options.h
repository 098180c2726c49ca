#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's HiraConfig; field names and defaults are the file's.
struct HiraOptions {
  int64_t r = 32;                     ///< Rank of the factor's two factors.
  double hira_dropout = 0.0;          ///< Of the update's input, in training.
  std::string init_weights = "true";  ///< true | gaussian | false; false does not start at zero.
  Pattern<int64_t> rank_pattern{};
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const HiraOptions&) const = default;
  static const TunerSchema& schema();
};

/// r of the module at `path`, the pattern considered.
int64_t rank_of(const HiraOptions& options, std::string_view path);

}  // namespace tunefleet::tuners

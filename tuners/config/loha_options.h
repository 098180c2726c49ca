#pragma once

#include <cstdint>
#include <string_view>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's LoHaConfig; field names and defaults are the file's.
struct LohaOptions {
  int64_t r = 8;                      ///< Rank of both factors; the update's is up to r^2.
  double alpha = 8.0;                 ///< The update is scaled by alpha / r.
  double rank_dropout = 0.0;          ///< Of whole outputs of the update, in training.
  double module_dropout = 0.0;        ///< Of the whole update of a layer, in training.
  bool use_effective_conv2d = false;  ///< A factor of its own for the kernel of convolutions.
  bool init_weights = true;           ///< False: does not start at zero.
  Pattern<int64_t> rank_pattern{};
  Pattern<double> alpha_pattern{};
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const LohaOptions&) const = default;
  static const TunerSchema& schema();
};

/// r and alpha of the module at `path`, patterns considered.
int64_t rank_of(const LohaOptions& options, std::string_view path);
double alpha_of(const LohaOptions& options, std::string_view path);

}  // namespace tunefleet::tuners

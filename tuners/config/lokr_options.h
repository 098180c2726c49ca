#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's LoKrConfig; field names and defaults are the file's.
struct LokrOptions {
  int64_t r = 8;                      ///< Rank of the factors' own factors.
  double alpha = 8.0;                 ///< The update is scaled by alpha / r.
  double rank_dropout = 0.0;          ///< Of whole outputs of the update, in training.
  double module_dropout = 0.0;        ///< Of the whole update of a layer, in training.
  bool use_effective_conv2d = false;  ///< A factor of its own for the kernel of convolutions.
  bool decompose_both = false;        ///< The first factor as a product of two, too.
  int64_t decompose_factor = -1;      ///< Size of the first factor; -1: as square as can be.
  bool rank_dropout_scale = false;    ///< The outputs that are left grow by the share left out.
  std::string init_weights = "true";  ///< true | false | lycoris; false does not start at zero.
  Pattern<int64_t> rank_pattern{};
  Pattern<double> alpha_pattern{};
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const LokrOptions&) const = default;
  static const TunerSchema& schema();
};

/// r and alpha of the module at `path`, patterns considered.
int64_t rank_of(const LokrOptions& options, std::string_view path);
double alpha_of(const LokrOptions& options, std::string_view path);

/// A width as the product of two.
struct Factors {
  int64_t outer = 1;  ///< At most `inner`, unless decompose_factor says otherwise.
  int64_t inner = 1;
};
/// How LoKr splits a width: `factor` times the rest where it divides it, else the most nearly equal
/// pair whose smaller number is at most `factor` (-1: any).
Factors factorization(int64_t width, int64_t factor);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's OFTConfig; field names and defaults are the file's.
struct OftOptions {
  int64_t r = 0;                ///< Number of blocks; 0: by oft_block_size.
  int64_t oft_block_size = 32;  ///< Width of a block; 0: by r. Exactly one of the two is set.
  double module_dropout = 0.0;  ///< Share of the blocks that rest in a training step, [0, 1).
  bool init_weights = true;     ///< False: N(0, 0.01) instead of zeros.
  bool coft = false;            ///< Keep every block's angle within eps.
  double eps = 6e-5;            ///< Bound of the norm of a block's skew matrix times sqrt(blocks).
  bool block_share = false;     ///< One rotation for all blocks.
  bool use_cayley_neumann = true;        ///< Series; false: exact, and the inverse rotation.
  int64_t num_cayley_neumann_terms = 5;  ///< Terms of the series, the constant one counted.
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const OftOptions&) const = default;
  static const TunerSchema& schema();
};

/// Width of the blocks of a layer with `in` inputs. Where the wanted number does not divide `in`,
/// the nearest one that does, the smaller when two are (PEFT's adjust_oft_parameters).
int64_t oft_block_size(const OftOptions& options, int64_t in);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's BOFTConfig; field names and defaults are the file's.
struct BoftOptions {
  int64_t boft_block_size = 4;          ///< Width of a block; 0: by boft_block_num.
  int64_t boft_block_num = 0;           ///< Number of blocks; 0: by boft_block_size.
  int64_t boft_n_butterfly_factor = 1;  ///< Rotations one after the other, between permutations.
  double boft_dropout = 0.0;  ///< Share of one factor's blocks that rest in a training step.
  bool init_weights = true;   ///< False: N(0, 0.01), factors N(1, 0.01).
  ModuleSelection modules{};
  AdapterOrigin origin{};

  bool operator==(const BoftOptions&) const = default;
  static const TunerSchema& schema();
};

struct BoftBlocks {
  int64_t size = 0;
  int64_t count = 0;
};
/// The blocks of a layer with `in` inputs. kInvalidArgument, naming `path`, when they do not divide
/// it or the butterfly does not fit.
Result<BoftBlocks> boft_blocks(const BoftOptions& options, int64_t in, std::string_view path);

}  // namespace tunefleet::tuners

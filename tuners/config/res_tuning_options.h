#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// ms-swift's ResTuningConfig: a bypass beside a frozen network, fed by what passes some of its
/// modules (Res-Tuning, Jiang et al. 2023, arXiv:2310.19859). Field names and defaults are the
/// file's.
struct ResTuningOptions {
  static const TunerSchema& schema();

  std::vector<int64_t> dims{};  ///< Width of each block of the bypass; one value: of all.
  ModuleNames root_modules{};  ///< Where the bypass starts (the first match); none: the first stem.
  std::string root_modules_hook = "input";  ///< input | output: which side of the root it takes.
  /// One block for each: an expression for whole paths, or whole paths in the bypass's order.
  ModuleNames stem_modules{};
  std::string stem_modules_hook = "output";
  ModuleNames target_modules{};  ///< Where the bypass's result takes the place of the network's.
  std::string target_modules_hook = "input";
  NumberOrText target_hidden_pos{"0"};  ///< Which argument or output; a site here has only one.
  /// What the blocks are made of (see bypass_plan.h): a word, an object, or a list of these, one
  /// for each block.
  JsonText tuner_cfg{};
  bool use_upsample =
      false;  ///< With a word: each block but the last fits its result to the next stem.
  JsonText upsample_out_channels{};  ///< Channels after that, by a convolution: a number or a list;
                                     ///< null or 0: as before.
  bool zero_init_last = false;       ///< The last block's adapters start at zero.
  bool use_bypass = true;            ///< Has no meaning; ms-swift's files have it.

  bool operator==(const ResTuningOptions&) const = default;
};

/// kInvalidArgument, naming the option: nothing to act on, no widths, blocks that cannot be made.
Status validate(const ResTuningOptions& options);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <vector>

#include "proto/result.h"
#include "tuners/config/module_selection.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {

/// PEFT's TrainableTokensConfig: some rows of an embedding that train. Field names and defaults are
/// the file's (PEFT 0.21).
struct TrainableTokensOptions {
  static const TunerSchema& schema();

  std::vector<int64_t> token_indices{};
  ModuleNames target_modules{};  ///< Empty: the input embedding.
  bool init_weights = true;      ///< Start from the base's rows; otherwise from N(0, 1).
  AdapterOrigin origin{};

  bool operator==(const TrainableTokensOptions&) const = default;
};

/// kInvalidArgument for no token, and for one that stands twice.
Status validate(const TrainableTokensOptions& options);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/result.h"
#include "tuners/config/tuner_options.h"

namespace tunefleet::tuners {

/// The rank that options give the update of the module at `path`, rank_pattern considered; unset
/// for tuners whose rank a layer does not bound (TunerSchema::rank_key).
std::optional<int64_t> update_rank(const TunerOptions& options, std::string_view path);

/// kInvalidArgument when that rank is more than a matrix [rows, cols] can have: what is above it
/// costs memory and time and adds nothing.
Status check_rank(const TunerOptions& options, const std::string& path, int64_t rows, int64_t cols);

}  // namespace tunefleet::tuners

#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// `tunefleet keys`: lists API keys; `tunefleet keys create` and `tunefleet keys revoke KEY` change
/// them, for the running service at once.
int run_keys(int argc, char** argv);

/// Seconds in "30d", "12h", "90m" or "45s". kInvalidArgument for other text, and for less than a
/// minute.
Result<int64_t> lifetime_seconds(const std::string& text);
/// The keys as people read them; `now` in Unix seconds.
std::string keys_table(const std::vector<nlohmann::json>& keys, int64_t now);

}  // namespace tunefleet::coordinator

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tunefleet::coordinator {

/// What a job is doing, on one line of at most `width` characters:
///   [#####-----] step 12/200 loss 2.345 lr 9.8e-05 1.2k tok/s 3m12s left
/// while it trains, "queued: position 2, waiting for 2 free slots" and the like before. What does
/// not fit is left out from the end; `job` is the API's object.
std::string render_progress(const nlohmann::json& job, size_t width);

/// The bar alone, `width` characters with its brackets.
std::string render_bar(double done, double total, size_t width);

}  // namespace tunefleet::coordinator

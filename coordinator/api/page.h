#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "coordinator/api/router.h"

namespace tunefleet::coordinator {

/// The page of `items` (each with an id) that the query's `after` and `limit` ask for, in OpenAI's
/// shape. 404 when no item has the id `after`, 400 for a limit outside 1 to 100.
ApiReply page_reply(std::vector<nlohmann::json> items, const HttpRequest& request,
                    int64_t default_limit);

}  // namespace tunefleet::coordinator

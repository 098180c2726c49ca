#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tunefleet::coordinator {

/// `tunefleet adapters list|inspect|combine`: adapters on disk. Needs no service; combine becomes
/// `tunefleet-trainer combine`.
int run_adapters(int argc, char** argv);

/// What `list` prints of adapter_json() objects, a line for each; and `inspect` of one, its tensors
/// gathered over the layers unless `all`.
std::string adapters_table(const nlohmann::json& adapters);
std::string adapter_page(const nlohmann::json& adapter, bool all);

}  // namespace tunefleet::coordinator

#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tunefleet::coordinator {

/// `tunefleet sweep FILE`: submits a sweep. `tunefleet sweep list`, `show ID`, `cancel ID`.
int run_sweep(int argc, char** argv);

/// A sweep for people: what it is, its jobs in a table, the best so far.
std::string sweep_text(const nlohmann::json& sweep);

}  // namespace tunefleet::coordinator

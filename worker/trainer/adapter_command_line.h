#pragma once

#include <functional>

#include "proto/result.h"

namespace CLI {
class App;
}

namespace tunefleet::trainer {

/// Adds the commands on adapters at rest, `merge`, `combine` and `export`. When one of them is
/// parsed, `chosen` becomes what runs it.
void add_adapter_commands(CLI::App& app, std::function<Status()>& chosen);

}  // namespace tunefleet::trainer

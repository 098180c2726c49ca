#pragma once

#include <filesystem>

#include "coordinator/api/access_control.h"

namespace CLI {
class App;
}

namespace tunefleet::coordinator {

/// Adds the options of `up` and `coordinator` that bound how often a client may ask.
void add_rate_options(CLI::App& app, RateLimits& limits);

/// Adds --tenants: the file of what each tenant may use of the fleet (fleet/tenant_policies.h).
void add_tenant_option(CLI::App& app, std::filesystem::path& file);

}  // namespace tunefleet::coordinator

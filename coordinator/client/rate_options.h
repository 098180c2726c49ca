#pragma once

#include "coordinator/api/access_control.h"

namespace CLI {
class App;
}

namespace tunefleet::coordinator {

/// Adds the options of `up` and `coordinator` that bound how often a client may ask.
void add_rate_options(CLI::App& app, RateLimits& limits);

}  // namespace tunefleet::coordinator

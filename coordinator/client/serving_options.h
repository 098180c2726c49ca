#pragma once

#include "coordinator/serving/serving_pool.h"

namespace CLI {
class App;
}

namespace tunefleet::coordinator {

/// Adds the options of `up` and `coordinator` on the models that answer conversations.
void add_serving_options(CLI::App& app, ServingOptions& options);

}  // namespace tunefleet::coordinator

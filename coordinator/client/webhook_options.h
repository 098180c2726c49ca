#pragma once

#include "coordinator/outbound/outbound_guard.h"

namespace CLI {
class App;
}

namespace tunefleet::coordinator {

/// Adds --allow-http-webhooks and --webhook-allow: what an operator lets users' webhooks call.
/// `policy` outlives the parsing.
void add_webhook_options(CLI::App& app, OutboundPolicy& policy);

}  // namespace tunefleet::coordinator

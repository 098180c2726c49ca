#include "coordinator/client/webhook_options.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tunefleet::coordinator {

void add_webhook_options(CLI::App& app, OutboundPolicy& policy) {
  app.add_flag("--allow-http-webhooks", policy.allow_http,
               "Let users' webhooks call public addresses by http too, not by https alone");
  const auto allow = [&policy](const std::vector<std::string>& entries) {
    for (const std::string& entry : entries) {
      const auto added = policy.allow(entry);
      if (!added) throw CLI::ValidationError("--webhook-allow", added.error().message);
    }
  };
  app.add_option_function<std::vector<std::string>>(
      "--webhook-allow", allow,
      "Let webhooks call this host name, address or range (10.0.0.0/8), by http too and on any "
      "port; may be given several times");
}

}  // namespace tunefleet::coordinator

#include "coordinator/client/rate_options.h"

#include <CLI/CLI.hpp>
#include <string>

namespace tunefleet::coordinator {
namespace {

void add_limit(CLI::App& app, RateLimit& limit, const std::string& name, const std::string& what) {
  app.add_option("--" + name, limit.per_second, what + " a second; 0: no limit")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--" + name + "-burst", limit.burst, what + " at once")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
}

}  // namespace

void add_rate_options(CLI::App& app, RateLimits& limits) {
  add_limit(app, limits.requests, "rate-limit", "Requests of one API key");
  add_limit(app, limits.creates, "create-limit", "Jobs, files and so on made with one API key");
  add_limit(app, limits.wrong_keys, "wrong-key-limit",
            "Requests of one address without a right key");
  app.add_option("--at-once", limits.at_once,
                 "Requests of one tenant being answered at the same time; 0: no limit")
      ->capture_default_str();
}

void add_tenant_option(CLI::App& app, std::filesystem::path& file) {
  app.add_option("--tenants", file,
                 "YAML file of tenants' shares of the fleet: `name: {weight: 2, max_slots: 8}`")
      ->check(CLI::ExistingFile);
}

}  // namespace tunefleet::coordinator

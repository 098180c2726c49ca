#include "coordinator/client/coordinator_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "coordinator/api/private_directory.h"
#include "coordinator/client/command.h"
#include "coordinator/client/coordinator_service.h"
#include "coordinator/client/data_lock.h"
#include "coordinator/client/rate_options.h"
#include "coordinator/client/serving_options.h"
#include "coordinator/client/stop_signal.h"
#include "coordinator/client/webhook_options.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

constexpr std::chrono::milliseconds kLook{1'000};

int failed(const Error& error) {
  fmt::print(stderr, "error: {}\n", error.message);
  return error.code == ErrorCode::kUnavailable ? kExitUnavailable : kExitFailed;
}

int serve(const CoordinatorOptions& options) {
  if (const auto made = make_private_directory(options.data); !made) return failed(made.error());
  const auto lock = DataLock::take(options.data);
  if (!lock) return failed(lock.error());
  auto service = CoordinatorService::start(options);
  if (!service) return failed(service.error());
  if (const auto told = (*service)->announce(); !told) return failed(told.error());
  const std::string endpoint = (*service)->fleet().endpoint();
  fmt::print("coordinator: {}, {}, API key in {}\n", (*service)->url(),
             endpoint.empty() ? "standing by while another coordinator leads"
                              : "agents connect to " + endpoint,
             (*service)->key_file().string());
  std::fflush(stdout);
  while (!is_stop_signal(wait_for_signal(kLook))) {
  }
  fmt::print("coordinator: stopping\n");
  (*service)->forget();
  (*service)->stop();
  return kExitOk;
}

}  // namespace

int run_coordinator(int argc, char** argv) {
  CoordinatorOptions options;
  options.data = ".tunefleet";
  options.redis = "redis://127.0.0.1:6379/0";
  options.fleet_endpoint = "tcp://127.0.0.1:8771";
  CLI::App app("Run queue, fleet and API; agents and Redis come from elsewhere", argv[0]);
  app.add_option("--data", options.data, "Data directory")->capture_default_str();
  app.add_option(
      "--shared", options.shared,
      "Directory of files, jobs, keys and webhooks, the same one for all coordinators on "
      "one Redis; default DATA");
  app.add_option("--models", options.models, "Base models, one folder each; default SHARED/models");
  app.add_option("--redis", options.redis, "unix:///path/redis.sock or redis://host:port/db")
      ->capture_default_str();
  app.add_option("--host", options.host, "Address the API listens on")->capture_default_str();
  app.add_option("--port", options.port, "Port of the API; 0: a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--fleet-endpoint", options.fleet_endpoint,
                 "Address agents and ranks connect to; tcp://HOST:*: a free port")
      ->capture_default_str();
  add_webhook_options(app, options.webhook_policy);
  add_rate_options(app, options.limits);
  add_tenant_option(app, options.tenants);
  add_serving_options(app, options.serving);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  log::configure("coordinator");
  block_signals();
  return serve(options);
}

}  // namespace tunefleet::coordinator

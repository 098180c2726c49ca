#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "proto/result.h"

namespace CLI {
class App;
}

namespace tunefleet::coordinator {

/// What someone said on the command line about where the service is; empty members were not given.
struct ServiceOptions {
  std::string url;
  std::string key_file;
  std::string data;
};

/// Adds --url, --key-file and --data to a command.
void add_service_options(CLI::App& app, ServiceOptions& options);

/// Where the service is and the key for it.
struct ServiceAddress {
  std::string url;  ///< Scheme, host and port, without a path.
  std::string key;
};

/// A variable of the environment; nothing when it is not set or empty.
using Environment = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> process_environment(const char* name);

/// --data, TUNEFLEET_DATA or ./.tunefleet.
std::filesystem::path data_directory(const ServiceOptions& options, const Environment& environment);

/// Looks for the URL in --url, TUNEFLEET_URL and <data>/endpoint.json ({"url": …}), for the key in
/// --key-file, TUNEFLEET_API_KEY and <data>/admin.key. kUnavailable when there is no URL,
/// kPermissionDenied without a key, kInvalidArgument for a URL that is none; the message names the
/// ways out.
Result<ServiceAddress> find_service(const ServiceOptions& options,
                                    const Environment& environment = process_environment);

}  // namespace tunefleet::coordinator

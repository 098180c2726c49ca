#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "coordinator/client/service_address.h"
#include "proto/result.h"

namespace CLI {
class App;
}

namespace tunefleet::coordinator {

/// Options that every command speaking to the service has.
struct ClientOptions {
  ServiceOptions service;
  bool json = false;
};

/// Adds them, and the footer with an example and the exit codes.
void add_client_options(CLI::App& app, ClientOptions& options, const std::string& example);

/// Reads the arguments. Nothing when the command may go on; the exit code after --help or a wrong
/// option, about which everything has been printed.
std::optional<int> parse_arguments(CLI::App& app, int argc, char** argv);

/// Prints an error to stderr, one line with its way out, and returns the exit code for it.
int report(const Error& error);
/// What scripts see of it.
int exit_code_of(const Error& error);

/// Prints one JSON document to stdout.
void print_json(const nlohmann::json& value);

}  // namespace tunefleet::coordinator

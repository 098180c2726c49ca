#include "coordinator/client/command_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/client/command.h"
#include "coordinator/client/json_fields.h"
#include "proto/nearest_name.h"

namespace tunefleet::coordinator {

namespace {

/// "unknown option --limt, did you mean --limit?" for the first word that no option takes.
std::string unexpected_text(const CLI::App& app) {
  const auto words = app.remaining(true);
  const auto option = std::find_if(words.begin(), words.end(),
                                   [](const auto& word) { return word.starts_with("-"); });
  if (option == words.end())
    return "unexpected argument " + (words.empty() ? std::string() : words.front());
  std::vector<std::string_view> known;
  for (const auto* each : app.get_options()) {
    for (const auto& name : each->get_lnames()) known.push_back(name);
  }
  const size_t dashes = option->find_first_not_of('-');
  const auto nearest =
      nearest_name(std::string_view(*option).substr(std::min(dashes, option->size())), known);
  return fmt::format("unknown option {}{}", *option,
                     nearest ? fmt::format(", did you mean --{}?", *nearest) : "");
}

}  // namespace

void add_client_options(CLI::App& app, ClientOptions& options, const std::string& example) {
  app.add_flag("--json", options.json, "JSON for programs instead of text for people");
  add_service_options(app, options.service);
  app.footer(fmt::format("\nExample: {}\n{}", example, kExitCodeHelp));
}

std::optional<int> parse_arguments(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return kExitOk;
  } catch (const CLI::ExtrasError&) {
    fmt::print(stderr, "error: {} (see {} --help)\n", unexpected_text(app), app.get_name());
    return kExitUsage;
  } catch (const CLI::ParseError& wrong) {
    fmt::print(stderr, "error: {} (see {} --help)\n", wrong.what(), app.get_name());
    return kExitUsage;
  }
}

int exit_code_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kPermissionDenied:
      return kExitUnavailable;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kConflict:
      return kExitUsage;
    default:
      return kExitFailed;
  }
}

int report(const Error& error) {
  fmt::print(stderr, "error: {}\n", error.message);
  return exit_code_of(error);
}

void print_json(const nlohmann::json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace tunefleet::coordinator

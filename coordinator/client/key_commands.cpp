#include "coordinator/client/key_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

#include "coordinator/client/api_client.h"
#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kMinute_s = 60;
constexpr int64_t kLongest_s = int64_t{10} * 366 * 24 * 3600;

struct CreateArguments {
  std::string tenant;
  std::vector<std::string> scopes{"submit"};
  std::string expires;
  std::string name;
};

std::string scopes_text(const json& key) {
  std::string text;
  for (const auto& scope : field_at(key, "scopes")) {
    if (scope.is_string()) text += (text.empty() ? "" : ",") + scope.get<std::string>();
  }
  return text;
}

std::string expiry_text(const json& key, int64_t now) {
  const auto expires = whole_at(key, "expires_at");
  if (!expires) return "never";
  if (*expires <= now) return "expired";
  return "in " + duration_text(static_cast<double>(*expires - now));
}

/// Every key that this key manages, page by page.
Result<std::vector<json>> all_keys(ApiClient& client, const std::string& tenant) {
  std::vector<json> keys;
  std::string after;
  for (;;) {
    std::string path = "/v1/keys?limit=100";
    if (!tenant.empty()) path += "&tenant=" + escaped_segment(tenant);
    if (!after.empty()) path += "&after=" + escaped_segment(after);
    const auto page = client.get(path);
    if (!page) return fail(page.error());
    const json data = field_at(*page, "data");
    for (const auto& key : data) keys.push_back(key);
    if (data.empty() || !flag_at(*page, "has_more")) return keys;
    after = text_at(keys.back(), "id");
  }
}

int list_keys(ApiClient& client, const std::string& tenant, bool as_json) {
  const auto keys = all_keys(client, tenant);
  if (!keys) return report(keys.error());
  if (as_json) {
    print_json(*keys);
  } else {
    fmt::print("{}", keys_table(*keys, std::time(nullptr)));
  }
  return kExitOk;
}

int create_key(ApiClient& client, const CreateArguments& arguments, bool as_json) {
  json body{{"scopes", arguments.scopes}, {"name", arguments.name}};
  if (!arguments.tenant.empty()) body["tenant"] = arguments.tenant;
  if (!arguments.expires.empty()) {
    const auto seconds = lifetime_seconds(arguments.expires);
    if (!seconds) return report(seconds.error());
    body["expires_after_s"] = *seconds;
  }
  const auto made = client.post("/v1/keys", body);
  if (!made) return report(made.error());
  if (as_json) {
    print_json(*made);
    return kExitOk;
  }
  fmt::print(stderr, "{} of {} may {}, expires {}; the key is shown this once:\n",
             text_at(*made, "id"), text_at(*made, "tenant"), scopes_text(*made),
             expiry_text(*made, std::time(nullptr)));
  fmt::print("{}\n", text_at(*made, "key"));
  return kExitOk;
}

int revoke_key(ApiClient& client, const std::string& key, bool as_json) {
  const auto gone = client.remove("/v1/keys/" + escaped_segment(key));
  if (!gone) return report(gone.error());
  if (as_json) {
    print_json(*gone);
  } else {
    fmt::print("{} revoked\n", text_at(*gone, "id"));
  }
  return kExitOk;
}

CLI::App* add_create(CLI::App& app, CreateArguments& arguments) {
  auto* create = app.add_subcommand("create", "Make a key; it is printed once");
  create->add_option("--tenant", arguments.tenant,
                     "Whose files and jobs it works on; by default those of the key you use");
  create->add_option("--scope", arguments.scopes, "read, submit (reads too) or admin (all)")
      ->check(CLI::IsMember({"read", "submit", "admin"}))
      ->capture_default_str();
  create->add_option("--expires", arguments.expires, "30d, 12h, 90m; by default never");
  create->add_option("--name", arguments.name, "What you call it");
  create->footer("\nExample: tunefleet keys create --tenant acme --scope submit --expires 30d\n" +
                 std::string(kExitCodeHelp));
  return create;
}

}  // namespace

Result<int64_t> lifetime_seconds(const std::string& text) {
  int64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, count);
  const std::string_view unit(stop, static_cast<size_t>(end - stop));
  int64_t seconds = 0;
  if (unit == "s") seconds = 1;
  if (unit == "m") seconds = kMinute_s;
  if (unit == "h") seconds = 3600;
  if (unit == "d") seconds = 24 * 3600;
  const bool good = failure == std::errc() && seconds > 0 && count > 0 &&
                    count <= kLongest_s / seconds && count * seconds >= kMinute_s;
  if (good) return count * seconds;
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("--expires takes a time from 60s to ten years, such as 30d, 12h or 90m: "
                          "{}",
                          text));
}

std::string keys_table(const std::vector<json>& keys, int64_t now) {
  std::vector<std::vector<std::string>> rows{
      {"ID", "TENANT", "SCOPES", "KEY", "AGE", "EXPIRES", "NAME"}};
  for (const auto& key : keys) {
    const auto created = number_at(key, "created_at").value_or(static_cast<double>(now));
    rows.push_back({printable(text_at(key, "id")), printable(text_at(key, "tenant")),
                    printable(scopes_text(key)), printable(text_at(key, "prefix")) + "…",
                    duration_text(static_cast<double>(now) - created), expiry_text(key, now),
                    printable(text_at(key, "name"))});
  }
  return format_table(rows);
}

int run_keys(int argc, char** argv) {
  CLI::App app("Lists, makes and revokes API keys", "tunefleet keys");
  ClientOptions options;
  CreateArguments arguments;
  std::string tenant;
  std::string key;
  add_client_options(app, options, "tunefleet keys list --tenant acme");
  app.require_subcommand(1);
  app.fallthrough();
  const auto* list = app.add_subcommand("list", "List the keys that yours manages");
  app.get_subcommand("list")->add_option("--tenant", tenant, "Only this tenant's");
  const auto* create = add_create(app, arguments);
  app.add_subcommand("revoke", "Refuse a key from now on")
      ->add_option("KEY", key, "Id of the key: key-…")
      ->required();
  for (auto* command : app.get_subcommands({})) command->fallthrough();
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto address = find_service(options.service);
  if (!address) return report(address.error());
  ApiClient client(*address);
  if (list->parsed()) return list_keys(client, tenant, options.json);
  if (create->parsed()) return create_key(client, arguments, options.json);
  return revoke_key(client, key, options.json);
}

}  // namespace tunefleet::coordinator

#include "coordinator/client/service_address.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "coordinator/client/json_fields.h"

namespace tunefleet::coordinator {
namespace {

constexpr std::streamsize kLongestFile = 64 << 10;

std::optional<std::string> read_small_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(static_cast<size_t>(kLongestFile), '\0');
  file.read(text.data(), kLongestFile);
  text.resize(static_cast<size_t>(file.gcount()));
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

Result<std::string> find_url(const ServiceOptions& options, const Environment& environment,
                             const std::filesystem::path& data) {
  if (!options.url.empty()) return options.url;
  if (const auto url = environment("TUNEFLEET_URL")) return *url;
  const auto path = data / "endpoint.json";
  const auto text = read_small_file(path);
  if (!text) {
    return fail(
        ErrorCode::kUnavailable,
        fmt::format(
            "no service is known here: start one with `tunefleet up`, name its data directory with "
            "--data, or name it with --url (looked for {})",
            path.string()));
  }
  const auto url = text_at(nlohmann::json::parse(*text, nullptr, false), "url");
  if (!url.empty()) return url;
  return fail(ErrorCode::kDataLoss, fmt::format("file does not hold a url: {}", path.string()));
}

/// Leaves scheme, host and port: people also paste the address that ends in /v1.
Result<std::string> cleaned_url(std::string url) {
  const auto wrong = [&] {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("not a URL like http://127.0.0.1:8770: {}", url));
  };
  const size_t scheme_end = url.find("://");
  if (scheme_end == std::string::npos) return wrong();
  const auto scheme = url.substr(0, scheme_end);
  if (scheme != "http" && scheme != "https") return wrong();
  const size_t path = url.find('/', scheme_end + 3);
  const auto rest = path == std::string::npos ? std::string() : url.substr(path);
  if (!rest.empty() && rest != "/" && rest != "/v1" && rest != "/v1/") return wrong();
  const std::string cleaned = url.substr(0, path);
  if (cleaned.size() == scheme_end + 3) return wrong();
  const auto bad = [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == '@' || c == '?' || c == '#';
  };
  if (std::any_of(cleaned.begin(), cleaned.end(), bad)) return wrong();
  return cleaned;
}

Result<std::string> key_in(const std::filesystem::path& path) {
  const auto text = read_small_file(path);
  if (!text)
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("key file cannot be read: {}", path.string()));
  const auto bad = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; };
  if (text->empty() || std::any_of(text->begin(), text->end(), bad)) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("key file does not hold one key: {}", path.string()));
  }
  return *text;
}

Result<std::string> find_key(const ServiceOptions& options, const Environment& environment,
                             const std::filesystem::path& data) {
  if (!options.key_file.empty()) return key_in(options.key_file);
  if (const auto key = environment("TUNEFLEET_API_KEY")) return *key;
  const auto path = data / "admin.key";
  auto key = key_in(path);
  if (key) return key;
  return fail(ErrorCode::kPermissionDenied,
              fmt::format("no API key: name a file with --key-file, set TUNEFLEET_API_KEY, or name "
                          "the service's data "
                          "directory with --data ({})",
                          key.error().message));
}

}  // namespace

void add_service_options(CLI::App& app, ServiceOptions& options) {
  const std::string group = "Service";
  app.add_option("--url", options.url, "Address of the service (or TUNEFLEET_URL)")->group(group);
  app.add_option("--key-file", options.key_file,
                 "File with the API key (or the key in TUNEFLEET_API_KEY)")
      ->group(group);
  app.add_option("--data", options.data,
                 "Data directory of a service on this machine, which holds both (or "
                 "TUNEFLEET_DATA; default ./.tunefleet)")
      ->group(group);
}

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::filesystem::path data_directory(const ServiceOptions& options,
                                     const Environment& environment) {
  if (!options.data.empty()) return options.data;
  return environment("TUNEFLEET_DATA").value_or(".tunefleet");
}

Result<ServiceAddress> find_service(const ServiceOptions& options, const Environment& environment) {
  const auto data = data_directory(options, environment);
  const auto url = find_url(options, environment, data);
  if (!url) return fail(url.error());
  auto cleaned = cleaned_url(*url);
  if (!cleaned) return fail(cleaned.error());
  auto key = find_key(options, environment, data);
  if (!key) return fail(key.error());
  return ServiceAddress{.url = *std::move(cleaned), .key = *std::move(key)};
}

}  // namespace tunefleet::coordinator

#include "coordinator/webhooks/webhook_store.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "coordinator/webhooks/webhook_signature.h"
#include "proto/log.h"
#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr unsigned kSecretMode = 0600;
constexpr uint64_t kMaxFileBytes = 64 << 20;
constexpr size_t kHintCharacters = 4;
constexpr std::chrono::seconds kLockLimit{10};

std::string new_endpoint_id() {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw std::runtime_error("the system gives no random numbers");
  }
  std::string id = "whep_";
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

json to_json(const WebhookEndpoint& endpoint) {
  return {{"id", endpoint.id},
          {"owner", endpoint.owner},
          {"name", endpoint.name},
          {"url", endpoint.url},
          {"event_types", endpoint.event_types},
          {"created_at", endpoint.created_at},
          {"updated_at", endpoint.updated_at},
          {"secret", endpoint.secret},
          {"previous_secret", endpoint.previous_secret ? json(*endpoint.previous_secret) : json()},
          {"previous_secret_until", endpoint.previous_secret_until}};
}

WebhookEndpoint from_json(const json& stored) {
  WebhookEndpoint endpoint{.id = stored.at("id"),
                           .owner = stored.at("owner"),
                           .name = stored.at("name"),
                           .url = stored.at("url"),
                           .event_types = stored.at("event_types"),
                           .created_at = stored.at("created_at"),
                           .updated_at = stored.at("updated_at"),
                           .secret = stored.at("secret"),
                           .previous_secret_until = stored.at("previous_secret_until")};
  if (const auto& previous = stored.at("previous_secret"); !previous.is_null()) {
    endpoint.previous_secret = previous.get<std::string>();
  }
  return endpoint;
}

}  // namespace

std::vector<std::string> WebhookEndpoint::secrets_at(int64_t now_s) const {
  std::vector<std::string> secrets{secret};
  if (previous_secret && now_s < previous_secret_until) secrets.push_back(*previous_secret);
  return secrets;
}

std::string WebhookEndpoint::secret_hint() const {
  return "whsec_..." + secret.substr(secret.size() - std::min(kHintCharacters, secret.size()));
}

WebhookStore::WebhookStore(std::filesystem::path path, std::function<int64_t()> now_s)
    : path_(std::move(path)), now_s_(std::move(now_s)) {}

Result<std::unique_ptr<WebhookStore>> WebhookStore::open(const std::filesystem::path& directory,
                                                         std::function<int64_t()> now_s) {
  std::unique_ptr<WebhookStore> store(
      new WebhookStore(directory / "endpoints.json", std::move(now_s)));
  store->stamp_ = storage::FileStamp::of(store->path_);
  auto endpoints = store->read();
  if (!endpoints) return fail(endpoints.error());
  store->endpoints_ = std::move(*endpoints);
  return store;
}

Result<WebhookStore::Endpoints> WebhookStore::read() const {
  Endpoints endpoints;
  const auto text = storage::read_small_file(path_, kMaxFileBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return endpoints;
  if (!text) return fail("reading the webhook endpoints", text.error());
  try {
    const json stored = json::parse(*text);
    for (const json& entry : stored.at("endpoints")) {
      WebhookEndpoint endpoint = from_json(entry);
      endpoints.emplace(endpoint.id, std::move(endpoint));
    }
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("the file of webhook endpoints is damaged; restore it, or remove it "
                            "and have them made again: {}: {}",
                            path_.string(), error.what()));
  }
  return endpoints;
}

void WebhookStore::refresh() const {
  const auto now = storage::FileStamp::of(path_);
  if (now == stamp_) return;
  stamp_ = now;
  auto endpoints = read();
  if (endpoints) {
    endpoints_ = std::move(*endpoints);
  } else {
    log::warning("the webhook endpoints stay as they were: " + endpoints.error().message);
  }
}

Result<storage::FileLock> WebhookStore::only_writer() const {
  auto lock_path = path_;
  auto alone = storage::FileLock::take(lock_path += ".lock", kLockLimit);
  if (alone) refresh();
  return alone;
}

Status WebhookStore::keep(Endpoints changed) {
  json entries = json::array();
  for (const auto& [id, endpoint] : changed) entries.push_back(to_json(endpoint));
  const auto text =
      json{{"endpoints", entries}}.dump(2, ' ', false, json::error_handler_t::replace);
  const auto stored = storage::write_file_atomically(path_, text + "\n", kSecretMode);
  if (!stored) return fail("storing the webhook endpoints", stored.error());
  endpoints_ = std::move(changed);
  stamp_ = storage::FileStamp::of(path_);
  return {};
}

Result<WebhookEndpoint> WebhookStore::find(const std::string& owner, const std::string& id) const {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.owner != owner) {
    return fail(ErrorCode::kNotFound, fmt::format("no such webhook endpoint: {}", id));
  }
  return found->second;
}

Result<WebhookEndpoint> WebhookStore::create(const std::string& owner, const std::string& name,
                                             const std::string& url,
                                             const std::vector<std::string>& event_types) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  const auto owned = std::count_if(endpoints_.begin(), endpoints_.end(),
                                   [&](const auto& entry) { return entry.second.owner == owner; });
  if (static_cast<size_t>(owned) >= kMaxPerOwner) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("there are {} webhook endpoints already, delete one first", owned));
  }
  const int64_t now = now_s_();
  WebhookEndpoint endpoint{.id = new_endpoint_id(),
                           .owner = owner,
                           .name = name,
                           .url = url,
                           .event_types = event_types,
                           .created_at = now,
                           .updated_at = now,
                           .secret = new_webhook_secret()};
  Endpoints changed = endpoints_;
  changed[endpoint.id] = endpoint;
  if (const auto stored = keep(std::move(changed)); !stored) return fail(stored.error());
  return endpoint;
}

Result<WebhookEndpoint> WebhookStore::get(const std::string& owner, const std::string& id) const {
  const std::lock_guard lock(mutex_);
  refresh();
  return find(owner, id);
}

Result<WebhookEndpoint> WebhookStore::update(const std::string& owner, const std::string& id,
                                             const WebhookChange& change) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  const auto old = find(owner, id);
  if (!old) return old;
  WebhookEndpoint endpoint = *old;
  if (change.name) endpoint.name = *change.name;
  if (change.url) endpoint.url = *change.url;
  if (change.event_types) endpoint.event_types = *change.event_types;
  const auto shown = [](const WebhookEndpoint& e) {
    return std::tie(e.name, e.url, e.event_types);
  };
  if (shown(endpoint) == shown(*old)) return old;
  endpoint.updated_at = now_s_();
  Endpoints changed = endpoints_;
  changed[id] = endpoint;
  if (const auto stored = keep(std::move(changed)); !stored) return fail(stored.error());
  return endpoint;
}

Result<WebhookEndpoint> WebhookStore::rotate_secret(const std::string& owner, const std::string& id,
                                                    bool keep_previous) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  auto endpoint = find(owner, id);
  if (!endpoint) return endpoint;
  const int64_t now = now_s_();
  endpoint->previous_secret.reset();
  if (keep_previous) endpoint->previous_secret = endpoint->secret;
  endpoint->previous_secret_until = keep_previous ? now + kGrace_s : 0;
  endpoint->secret = new_webhook_secret();
  endpoint->updated_at = now;
  Endpoints changed = endpoints_;
  changed[id] = *endpoint;
  if (const auto stored = keep(std::move(changed)); !stored) return fail(stored.error());
  return endpoint;
}

Status WebhookStore::remove(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto alone = only_writer();
  if (!alone) return fail(alone.error());
  if (const auto known = find(owner, id); !known) return fail(known.error());
  Endpoints changed = endpoints_;
  changed.erase(id);
  return keep(std::move(changed));
}

std::vector<WebhookEndpoint> WebhookStore::list(const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  refresh();
  std::vector<WebhookEndpoint> mine;
  for (const auto& [id, endpoint] : endpoints_) {
    if (endpoint.owner == owner) mine.push_back(endpoint);
  }
  std::sort(mine.begin(), mine.end(), [](const WebhookEndpoint& a, const WebhookEndpoint& b) {
    return std::tie(b.created_at, b.id) < std::tie(a.created_at, a.id);
  });
  return mine;
}

bool WebhookStore::empty() const {
  const std::lock_guard lock(mutex_);
  refresh();
  return endpoints_.empty();
}

}  // namespace tunefleet::coordinator

#include "coordinator/api/api_keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/api/ids.h"
#include "coordinator/api/private_directory.h"
#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/file_lock.h"
#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kKeyBytes = 32;
constexpr size_t kShownPrefix = 7;
constexpr unsigned kSecret = 0600;
constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr size_t kIdLength = 24;
constexpr std::string_view kIdPrefix = "key-";

constexpr std::chrono::seconds kLockLimit{10};

std::filesystem::path beside(std::filesystem::path path, const char* suffix) {
  return path += suffix;
}

/// Files written before there were scopes: every key was an administrator's.
Scope scope_of(const json& entry) {
  const auto found = entry.find("scopes");
  if (found == entry.end()) return Scope::kAdmin;
  Scope most = Scope::kNone;
  for (const json& name : *found) {
    if (const auto scope = scope_from_name(name.get<std::string>())) most = std::max(most, *scope);
  }
  return most;
}

ApiKey key_from_json(const json& entry) {
  ApiKey key{.sha256 = entry.at("sha256").get<std::string>(),
             .prefix = entry.at("prefix").get<std::string>(),
             .owner = entry.at("owner").get<std::string>(),
             .name = entry.value("name", ""),
             .scope = scope_of(entry),
             .created_at = entry.at("created_at").get<int64_t>()};
  // Keys without an id are older than ids; a part of the digest tells nothing of the key.
  key.id = entry.value("id", std::string(kIdPrefix) + key.sha256.substr(0, kIdLength));
  if (const auto expires = entry.find("expires_at"); expires != entry.end()) {
    key.expires_at = expires->get<int64_t>();
  }
  return key;
}

json to_entry(const ApiKey& key) {
  json entry{{"id", key.id},
             {"sha256", key.sha256},
             {"prefix", key.prefix},
             {"owner", key.owner},
             {"name", key.name},
             {"scopes", included_scopes(key.scope)},
             {"created_at", key.created_at}};
  if (key.expires_at) entry["expires_at"] = *key.expires_at;
  return entry;
}

bool same_digest(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

ApiKeys::ApiKeys(const std::filesystem::path& data_directory, std::function<int64_t()> now_s)
    : path_(data_directory / "keys" / "api_keys.json"),
      admin_key_path_(data_directory / "admin.key"),
      now_s_(std::move(now_s)) {}

Result<std::unique_ptr<ApiKeys>> ApiKeys::open(const std::filesystem::path& data_directory,
                                               std::function<int64_t()> now_s) {
  std::unique_ptr<ApiKeys> keys(new ApiKeys(data_directory, std::move(now_s)));
  if (const auto made = make_private_directory(keys->path_.parent_path()); !made) {
    return fail(made.error());
  }
  keys->stamp_ = storage::FileStamp::of(keys->path_);
  auto read = keys->read();
  if (!read) return fail(read.error());
  keys->keys_ = std::move(*read);
  if (const auto ensured = keys->ensure_admin_key(); !ensured) return fail(ensured.error());
  return keys;
}

Result<ApiKey> ApiKeys::find(std::string_view key) const {
  const std::string digest = storage::sha256_hex(key);
  const std::lock_guard lock(mutex_);
  refresh();
  const ApiKey* found = nullptr;
  for (const ApiKey& entry : keys_) {
    if (same_digest(entry.sha256, digest)) found = &entry;
  }
  if (found == nullptr) return fail(ErrorCode::kPermissionDenied, "the API key is not known here");
  if (!is_live(*found)) return fail(ErrorCode::kPermissionDenied, "the API key has expired");
  return *found;
}

Result<CreatedApiKey> ApiKeys::create(const NewApiKey& wanted) {
  return add(wanted, kMaxPerTenant);
}

Result<CreatedApiKey> ApiKeys::add(const NewApiKey& wanted, size_t most_of_tenant) {
  const std::string key = "tf-" + random_base64url(kKeyBytes);
  const ApiKey made{.id = random_id(kIdPrefix, kIdLength),
                    .sha256 = storage::sha256_hex(key),
                    .prefix = key.substr(0, kShownPrefix),
                    .owner = wanted.owner,
                    .name = wanted.name,
                    .scope = wanted.scope,
                    .created_at = now_s_(),
                    .expires_at = wanted.expires_at};
  const std::lock_guard lock(mutex_);
  const auto alone = storage::FileLock::take(beside(path_, ".lock"), kLockLimit);
  if (!alone) return fail(alone.error());
  refresh();
  auto keys = keys_;
  const auto owned = [&](const ApiKey& key) { return key.owner == wanted.owner; };
  const auto is_full = [&] {
    return static_cast<size_t>(std::count_if(keys.begin(), keys.end(), owned)) >= most_of_tenant;
  };
  if (is_full()) {
    std::erase_if(keys, [&](const ApiKey& key) { return owned(key) && !is_live(key); });
  }
  if (is_full()) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("the tenant has {} API keys already, revoke one first: {}",
                            most_of_tenant, wanted.owner));
  }
  keys.push_back(made);
  if (const auto stored = store(std::move(keys)); !stored) return fail(stored.error());
  return CreatedApiKey{.stored = made, .key = key};
}

std::vector<ApiKey> ApiKeys::list(std::string_view owner) const {
  const std::lock_guard lock(mutex_);
  refresh();
  std::vector<ApiKey> shown;
  for (const ApiKey& key : keys_) {
    if (owner.empty() || key.owner == owner) shown.push_back(key);
  }
  std::reverse(shown.begin(), shown.end());
  return shown;
}

Result<ApiKey> ApiKeys::revoke(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto alone = storage::FileLock::take(beside(path_, ".lock"), kLockLimit);
  if (!alone) return fail(alone.error());
  refresh();
  auto keys = keys_;
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const ApiKey& key) { return key.id == id; });
  if (found == keys.end()) return fail(ErrorCode::kNotFound, "no such API key: " + id);
  const ApiKey gone = *found;
  keys.erase(found);
  const auto may_manage = [this](const ApiKey& key) { return administers(key); };
  if (administers(gone) && std::none_of(keys.begin(), keys.end(), may_manage)) {
    return fail(ErrorCode::kConflict,
                fmt::format("the last key that can manage the service stays; make another one of "
                            "the tenant {} with the scope admin first: {}",
                            kOperatorTenant, id));
  }
  if (const auto stored = store(std::move(keys)); !stored) return fail(stored.error());
  return gone;
}

Result<std::vector<ApiKey>> ApiKeys::read() const {
  const auto text = storage::read_small_file(path_, kMaxFileBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return std::vector<ApiKey>();
  if (!text) return fail("reading the API keys", text.error());
  std::vector<ApiKey> keys;
  try {
    const json stored = json::parse(*text);
    for (const json& entry : stored.at("keys")) keys.push_back(key_from_json(entry));
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("the file of API keys is damaged; restore it, or remove it and "
                            "admin.key for a new first key: {}: {}",
                            path_.string(), error.what()));
  }
  return keys;
}

/// Writes `keys` and only then lets them count.
Status ApiKeys::store(std::vector<ApiKey> keys) {
  json entries = json::array();
  for (const ApiKey& key : keys) entries.push_back(to_entry(key));
  const auto written =
      storage::write_file_atomically(path_, json{{"keys", entries}}.dump(2) + "\n", kSecret);
  if (!written) return written;
  keys_ = std::move(keys);
  stamp_ = storage::FileStamp::of(path_);
  return {};
}

/// Takes over what another process wrote. A file that cannot be read changes nothing: nobody is
/// locked out or let in by a damaged disk.
void ApiKeys::refresh() const {
  const storage::FileStamp now = storage::FileStamp::of(path_);
  if (now == stamp_) return;
  stamp_ = now;
  auto keys = read();
  if (keys && now != storage::FileStamp()) {
    keys_ = std::move(*keys);
  } else {
    log::warning(fmt::format("the API keys stay as they were: {}",
                             keys ? "the file is gone: " + path_.string() : keys.error().message));
  }
}

/// The digest is stored before the key's file: after a crash between the two the next start makes
/// another key. The lock lets one of several processes do it that start at the same time.
Status ApiKeys::ensure_admin_key() {
  const auto alone = storage::FileLock::take(beside(admin_key_path_, ".lock"), kLockLimit);
  if (!alone) return fail(alone.error());
  {
    const std::lock_guard lock(mutex_);
    refresh();
  }
  std::error_code error;
  const bool manageable = std::any_of(keys_.begin(), keys_.end(),
                                      [this](const ApiKey& key) { return administers(key); });
  if (manageable && std::filesystem::exists(admin_key_path_, error)) return {};
  // Whatever else the operator has: the first key is what others are made with.
  const auto made = add({.owner = std::string(kOperatorTenant), .name = "admin.key"}, SIZE_MAX);
  if (!made) return fail("making the first API key", made.error());
  return storage::write_file_atomically(admin_key_path_, made->key + "\n", kSecret);
}

bool ApiKeys::is_live(const ApiKey& key) const {
  return !key.expires_at || now_s_() < *key.expires_at;
}

bool ApiKeys::administers(const ApiKey& key) const {
  return key.owner == kOperatorTenant && key.scope == Scope::kAdmin && is_live(key);
}

}  // namespace tunefleet::coordinator

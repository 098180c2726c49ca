#include "coordinator/api/api_keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/api/ids.h"
#include "coordinator/api/private_directory.h"
#include "storage/atomic_file.h"
#include "storage/sha256.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kKeyBytes = 32;
constexpr size_t kShownPrefix = 7;
constexpr unsigned kSecret = 0600;
constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr std::string_view kAdmin = "admin";

ApiKey key_from_json(const json& entry) {
  return {.sha256 = entry.at("sha256").get<std::string>(),
          .prefix = entry.at("prefix").get<std::string>(),
          .owner = entry.at("owner").get<std::string>(),
          .created_at = entry.at("created_at").get<int64_t>()};
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
  if (const auto loaded = keys->load(); !loaded) return fail(loaded.error());
  if (const auto ensured = keys->ensure_admin_key(); !ensured) return fail(ensured.error());
  return keys;
}

Result<std::string> ApiKeys::owner_of(std::string_view key) const {
  const std::string digest = storage::sha256_hex(key);
  const std::lock_guard lock(mutex_);
  const ApiKey* found = nullptr;
  for (const ApiKey& entry : keys_) {
    if (entry.sha256.size() == digest.size() &&
        CRYPTO_memcmp(entry.sha256.data(), digest.data(), digest.size()) == 0) {
      found = &entry;
    }
  }
  if (found == nullptr) return fail(ErrorCode::kPermissionDenied, "the API key is not known");
  return found->owner;
}

Result<std::string> ApiKeys::create(const std::string& owner) {
  const std::string key = "tf-" + random_base64url(kKeyBytes);
  const std::lock_guard lock(mutex_);
  keys_.push_back({.sha256 = storage::sha256_hex(key),
                   .prefix = key.substr(0, kShownPrefix),
                   .owner = owner,
                   .created_at = now_s_()});
  if (const auto stored = store(); !stored) {
    keys_.pop_back();
    return fail(stored.error());
  }
  return key;
}

Status ApiKeys::load() {
  const auto text = storage::read_small_file(path_, kMaxFileBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return {};
  if (!text) return fail("reading the API keys", text.error());
  try {
    const json stored = json::parse(*text);
    for (const json& entry : stored.at("keys")) keys_.push_back(key_from_json(entry));
  } catch (const json::exception& error) {
    return fail(ErrorCode::kDataLoss,
                fmt::format("the file of API keys is damaged; restore it, or remove it and "
                            "admin.key for a new first key: {}: {}",
                            path_.string(), error.what()));
  }
  return {};
}

Status ApiKeys::store() const {
  json entries = json::array();
  for (const ApiKey& key : keys_) {
    entries.push_back({{"sha256", key.sha256},
                       {"prefix", key.prefix},
                       {"owner", key.owner},
                       {"created_at", key.created_at}});
  }
  return storage::write_file_atomically(path_, json{{"keys", entries}}.dump(2) + "\n", kSecret);
}

/// The digest is stored before the key's file: after a crash between the two the next start makes
/// another key.
Status ApiKeys::ensure_admin_key() {
  std::error_code error;
  if (!keys_.empty() && std::filesystem::exists(admin_key_path_, error)) return {};
  const auto key = create(std::string(kAdmin));
  if (!key) return fail("making the first API key", key.error());
  return storage::write_file_atomically(admin_key_path_, *key + "\n", kSecret);
}

}  // namespace tunefleet::coordinator

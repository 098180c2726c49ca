#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/api_scope.h"
#include "proto/result.h"
#include "storage/file_stamp.h"

namespace tunefleet::coordinator {

/// A key as stored: never the key itself. Times are Unix seconds.
struct ApiKey {
  std::string id{};      ///< "key-" + 24 characters.
  std::string sha256{};  ///< Hexadecimal, of the whole key.
  std::string prefix{};  ///< The key's first characters, for people: "tf-AbCd".
  std::string owner{};   ///< The tenant: jobs and files belong to it.
  std::string name{};    ///< What people call the key; may be empty.
  Scope scope = Scope::kRead;
  int64_t created_at = 0;
  std::optional<int64_t> expires_at{};
};

/// What a new key is to be.
struct NewApiKey {
  std::string owner{};
  Scope scope = Scope::kAdmin;
  std::optional<int64_t> expires_at{};
  std::string name{};
};

struct CreatedApiKey {
  ApiKey stored;
  std::string key;  ///< The only copy there is.
};

/// Who may use the API. Keys are "tf-" and 256 random bits as base64url; on disk there are only
/// their digests, in keys/api_keys.json (0600, described in the README). Any thread, and any number
/// of processes: a change by another one counts from the next request on, and changes of two at
/// the same time are made one after the other.
class ApiKeys {
 public:
  /// Reads <data>/keys/api_keys.json. When no key can administer the service, or admin.key is gone,
  /// it makes one of the tenant "admin" and leaves it in <data>/admin.key (0600), where the command
  /// line finds it. kDataLoss for a file that is not ours.
  static Result<std::unique_ptr<ApiKeys>> open(const std::filesystem::path& data_directory,
                                               std::function<int64_t()> now_s);

  /// The record of that key; kPermissionDenied for an unknown and for an expired one. Takes the
  /// same time for every wrong key.
  Result<ApiKey> find(std::string_view key) const;
  static constexpr size_t kMaxPerTenant = 1000;
  /// Makes a key and stores its digest before it returns; the key itself is nowhere else. A tenant
  /// that has kMaxPerTenant forgets its expired ones; kResourceExhausted when there are none.
  Result<CreatedApiKey> create(const NewApiKey& wanted);
  /// The keys of one tenant, or of all (empty), newest first.
  std::vector<ApiKey> list(std::string_view owner) const;
  /// Forgets a key: the next request with it is refused. kNotFound; kConflict for the last key that
  /// can administer the service.
  Result<ApiKey> revoke(const std::string& id);

  std::filesystem::path admin_key_path() const { return admin_key_path_; }

 private:
  ApiKeys(const std::filesystem::path& data_directory, std::function<int64_t()> now_s);
  Result<std::vector<ApiKey>> read() const;
  Status store(std::vector<ApiKey> keys);
  void refresh() const;
  Status ensure_admin_key();
  Result<CreatedApiKey> add(const NewApiKey& wanted, size_t most_of_tenant);
  bool is_live(const ApiKey& key) const;
  bool administers(const ApiKey& key) const;

  std::filesystem::path path_;
  std::filesystem::path admin_key_path_;
  std::function<int64_t()> now_s_;
  mutable std::mutex mutex_;
  mutable std::vector<ApiKey> keys_;  ///< Guarded by mutex_, as is stamp_.
  mutable storage::FileStamp stamp_;  ///< Of the file that keys_ was read from.
};

}  // namespace tunefleet::coordinator

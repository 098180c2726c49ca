#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// A key as stored: never the key itself.
struct ApiKey {
  std::string sha256;      ///< Hexadecimal, of the whole key.
  std::string prefix;      ///< The key's first characters, for people: "tf-AbCd".
  std::string owner;       ///< Jobs and files belong to it.
  int64_t created_at = 0;  ///< Unix seconds.
};

/// Who may use the API. Keys are "tf-" and 256 random bits as base64url; on disk there are only
/// their digests, in keys/api_keys.json (0600): {"keys":[{sha256,prefix,owner,created_at}]}. Any
/// thread.
class ApiKeys {
 public:
  /// Reads <data>/keys/api_keys.json. On the first start it makes a key of the owner "admin" and
  /// leaves it in <data>/admin.key (0600), where the command line finds it. kDataLoss for a file
  /// that is not ours.
  static Result<std::unique_ptr<ApiKeys>> open(const std::filesystem::path& data_directory,
                                               std::function<int64_t()> now_s);

  /// The owner of that key; kPermissionDenied for an unknown one. Takes the same time for every
  /// wrong key.
  Result<std::string> owner_of(std::string_view key) const;
  /// Makes a key and stores its digest before it returns; the key itself is nowhere else.
  Result<std::string> create(const std::string& owner);

  std::filesystem::path admin_key_path() const { return admin_key_path_; }

 private:
  ApiKeys(const std::filesystem::path& data_directory, std::function<int64_t()> now_s);
  Status load();
  Status store() const;
  Status ensure_admin_key();

  std::filesystem::path path_;
  std::filesystem::path admin_key_path_;
  std::function<int64_t()> now_s_;
  mutable std::mutex mutex_;
  std::vector<ApiKey> keys_;
};

}  // namespace tunefleet::coordinator

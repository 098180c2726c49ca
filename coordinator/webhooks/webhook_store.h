#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "storage/file_lock.h"
#include "storage/file_stamp.h"

namespace tunefleet::coordinator {

/// An address its owner wants to be called at. Times are Unix seconds.
struct WebhookEndpoint {
  std::string id{};  ///< "whep_" + 32 hexadecimal digits.
  std::string owner{};
  std::string name{};
  std::string url{};
  std::vector<std::string> event_types{};
  int64_t created_at = 0;
  int64_t updated_at = 0;
  std::string secret{};
  std::optional<std::string> previous_secret{};  ///< Signs too, until previous_secret_until.
  int64_t previous_secret_until = 0;

  /// What signs a delivery at that time, the newest first.
  std::vector<std::string> secrets_at(int64_t now_s) const;
  /// What may be shown of the secret after its creation: "whsec_...aB3=".
  std::string secret_hint() const;
};

/// What a user may change; empty members stay as they are.
struct WebhookChange {
  std::optional<std::string> name{};
  std::optional<std::string> url{};
  std::optional<std::vector<std::string>> event_types{};
};

/// All endpoints, in <directory>/endpoints.json (0600, replaced by rename):
/// {"endpoints":[{id,owner,name,url,event_types,created_at,updated_at,secret,previous_secret,
/// previous_secret_until}]}. The secrets stand there as they are, since signing needs them. Any
/// thread, and any number of processes: a change by another one counts from the next call on. What
/// is returned is stored already.
class WebhookStore {
 public:
  static constexpr size_t kMaxPerOwner = 16;
  static constexpr int64_t kGrace_s = 24 * 3600;

  /// The directory must be there. kDataLoss for a file that is not ours.
  static Result<std::unique_ptr<WebhookStore>> open(const std::filesystem::path& directory,
                                                    std::function<int64_t()> now_s);

  /// Makes id and secret; name, url and event_types are taken as they are, checked by the caller.
  /// kResourceExhausted when the owner has kMaxPerOwner already.
  Result<WebhookEndpoint> create(const std::string& owner, const std::string& name,
                                 const std::string& url,
                                 const std::vector<std::string>& event_types);
  /// kNotFound also for an endpoint of another owner.
  Result<WebhookEndpoint> get(const std::string& owner, const std::string& id) const;
  Result<WebhookEndpoint> update(const std::string& owner, const std::string& id,
                                 const WebhookChange& change);
  /// A new secret. With `keep_previous` the old one signs beside it for 24 hours; without, and for
  /// the one before the old one, it ends here.
  Result<WebhookEndpoint> rotate_secret(const std::string& owner, const std::string& id,
                                        bool keep_previous);
  Status remove(const std::string& owner, const std::string& id);
  /// Newest first.
  std::vector<WebhookEndpoint> list(const std::string& owner) const;
  bool empty() const;

 private:
  WebhookStore(std::filesystem::path path, std::function<int64_t()> now_s);
  using Endpoints = std::map<std::string, WebhookEndpoint>;

  Result<Endpoints> read() const;
  /// Takes over what another process wrote; a file that cannot be read changes nothing. Wants
  /// mutex_ held, like what follows.
  void refresh() const;
  /// Refreshes; until it is gone, no other process writes.
  Result<storage::FileLock> only_writer() const;
  /// Writes `changed`, then takes it for the truth.
  Status keep(Endpoints changed);
  Result<WebhookEndpoint> find(const std::string& owner, const std::string& id) const;

  std::filesystem::path path_;
  std::function<int64_t()> now_s_;
  mutable std::mutex mutex_;
  mutable Endpoints endpoints_;       ///< By id.
  mutable storage::FileStamp stamp_;  ///< Of the file that endpoints_ was read from.
};

}  // namespace tunefleet::coordinator

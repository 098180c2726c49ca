#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/result.h"
#include "storage/file_lock.h"
#include "storage/file_stamp.h"

namespace tunefleet::coordinator {

/// Something a job has made: its finished model, or the checkpoint of one step.
struct MadeModel {
  std::string job{};
  std::optional<int64_t> step{};

  bool operator==(const MadeModel&) const = default;
};

/// Lets another tenant use a model or checkpoint.
struct ModelPermission {
  std::string id{};  ///< "cp_" + 24 characters.
  MadeModel model{};
  std::string tenant{};
  int64_t created_at = 0;  ///< Unix seconds.
};

/// Who besides a job's own tenant may use what the job has made, and which tuned models were
/// deleted. Stored in one file (0600, replaced by rename; described in the README). Any thread, and
/// any number of processes: a change by another one counts from the next call on, and changes of
/// two at the same time are made one after the other.
class ModelAccess {
 public:
  /// A file that is not there is an empty one. kDataLoss for one that is not ours.
  static Result<std::unique_ptr<ModelAccess>> open(const std::filesystem::path& path,
                                                   std::function<int64_t()> now_s);

  static constexpr size_t kMaxPerModel = 1000;
  static constexpr size_t kMaxInAll = 200'000;  ///< So that the file stays readable.
  /// One permission for each tenant, in their order; those that are there already stay as they are.
  /// kResourceExhausted when there would be too many.
  Result<std::vector<ModelPermission>> grant(const MadeModel& model,
                                             const std::vector<std::string>& tenants);
  /// Oldest first.
  std::vector<ModelPermission> permissions(const MadeModel& model) const;
  /// The models that `tenant` was let use, oldest permission first.
  std::vector<MadeModel> granted_to(const std::string& tenant) const;
  /// kNotFound when that model has no such permission.
  Status revoke(const MadeModel& model, const std::string& permission);
  bool permits(const MadeModel& model, const std::string& tenant) const;

  /// Marks all that the job has made as deleted, and drops its permissions.
  Status mark_deleted(const std::string& job);
  bool is_deleted(const std::string& job) const;

 private:
  struct Records {
    std::vector<ModelPermission> permissions;
    std::set<std::string> deleted;
  };

  ModelAccess(std::filesystem::path path, std::function<int64_t()> now_s);
  Result<Records> read() const;
  Status store(Records records);
  void refresh() const;
  /// Between refresh() and store() no other process may write.
  Result<storage::FileLock> only_writer() const;

  const std::filesystem::path path_;
  const std::function<int64_t()> now_s_;
  mutable std::mutex mutex_;
  mutable Records records_;           ///< Guarded by mutex_, as is stamp_.
  mutable storage::FileStamp stamp_;  ///< Of the file that records_ was read from.
};

}  // namespace tunefleet::coordinator

#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/api/upload_rules.h"
#include "coordinator/api/upload_store.h"
#include "proto/result.h"
#include "storage/file_lock.h"

namespace tunefleet::coordinator {

/// Uploads on the disk: <directory>/<upload-id>/{upload.json,lock,<part-id>…}, all private (0700,
/// 0600). Several processes may work on one directory: records and parts appear whole or not at
/// all. Upload and part ids are made by the store, never a client's text.
class UploadDirectory {
 public:
  explicit UploadDirectory(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// Removes what an interrupted creation or removal left, and what is not ours.
  void remove_broken() const;
  /// Of every upload that is there. Makes the directory when it is missing.
  Result<std::vector<std::string>> ids() const;
  /// Reads the record again if it is another one than `entry` was read from. kNotFound when it is
  /// gone.
  Status refresh_record(const std::string& id, UploadEntry& entry) const;
  /// Which parts are there now.
  void refresh_parts(UploadEntry& entry) const;
  /// Held while the upload's status changes: by one process and thread at a time. kNotFound when it
  /// is gone, kUnavailable after `limit`.
  Result<storage::FileLock> lock(const std::string& id, std::chrono::milliseconds limit) const;
  Result<std::optional<storage::FileLock>> try_lock(const std::string& id) const;
  /// Makes the upload's folder and its record. Durable when it returns.
  Status create(const ChunkedUpload& upload) const;
  /// Replaces the record. Durable when it returns.
  Status update(const ChunkedUpload& upload) const;
  /// Everything but the record: parts, and what was on its way to be one.
  void remove_bytes(const std::string& upload) const;
  void remove_part(const std::string& upload, const std::string& part) const;
  void remove(const std::string& upload) const;

  std::filesystem::path part_path(const std::string& upload, const std::string& part) const {
    return directory_ / upload / part;
  }

 private:
  std::filesystem::path directory_;
};

}  // namespace tunefleet::coordinator

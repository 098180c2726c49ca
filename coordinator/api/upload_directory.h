#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "coordinator/api/upload_rules.h"
#include "coordinator/api/upload_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Uploads on the disk: <directory>/<upload-id>/{upload.json,<part-id>…}, all private (0700, 0600).
/// Upload and part ids are made by the store, never a client's text.
class UploadDirectory {
 public:
  explicit UploadDirectory(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// Everything that is there, by id. Removes what an interrupted write, end or removal left.
  Result<std::map<std::string, UploadEntry>> load() const;
  /// Makes the upload's folder and its record. Durable when it returns.
  Status create(const ChunkedUpload& upload) const;
  /// Replaces the record. Durable when it returns.
  Status update(const ChunkedUpload& upload) const;
  void remove_part(const std::string& upload, const std::string& part) const;
  void remove(const std::string& upload) const;

  std::filesystem::path part_path(const std::string& upload, const std::string& part) const {
    return directory_ / upload / part;
  }

 private:
  void load_upload(const std::filesystem::path& folder,
                   std::map<std::string, UploadEntry>& entries) const;

  std::filesystem::path directory_;
};

}  // namespace tunefleet::coordinator

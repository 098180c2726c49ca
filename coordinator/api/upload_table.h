#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "coordinator/api/upload_directory.h"
#include "coordinator/api/upload_rules.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// The uploads of a directory as they were last read, and what this process alone knows of them.
/// Reads a record again whenever another process has replaced it. One thread at a time.
class UploadTable {
 public:
  UploadTable(std::filesystem::path directory, std::function<int64_t()> now_s);

  const UploadDirectory& directory() const { return directory_; }
  /// By id, as last read.
  std::map<std::string, UploadEntry>& entries() { return entries_; }
  /// The upload as it is on the disk; null when it is not there. Stays valid until clean().
  UploadEntry* read(const std::string& id);
  /// The same for its owner, expired if its hour is over. kNotFound also for another owner's.
  Result<UploadEntry*> find(const std::string& owner, const std::string& id);
  /// Wants the upload's lock. Stores that it has ended, then removes its bytes.
  Status end(UploadEntry& entry, const char* status);
  /// Reads all, ends those whose hour is over, and removes those that ended a day before.
  void clean();

 private:
  void read_all();
  void expire(UploadEntry& entry);
  bool may_go(const UploadEntry& entry) const;

  const UploadDirectory directory_;
  const std::function<int64_t()> now_s_;
  std::map<std::string, UploadEntry> entries_;
};

}  // namespace tunefleet::coordinator

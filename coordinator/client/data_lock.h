#pragma once

#include <sys/types.h>

#include <filesystem>

#include "proto/result.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {

/// One service at a time on a data directory: a lock on <data>/up.lock, which names the process
/// that holds it. The kernel gives it back when that process ends, however it ends.
class DataLock {
 public:
  /// kConflict, with the other's process id, when it is held.
  static Result<DataLock> take(const std::filesystem::path& data_directory);
  /// Who holds it; 0 when nobody does.
  static pid_t holder(const std::filesystem::path& data_directory);

 private:
  explicit DataLock(storage::FileDescriptor file) : file_(std::move(file)) {}
  storage::FileDescriptor file_;
};

}  // namespace tunefleet::coordinator

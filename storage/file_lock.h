#pragma once

#include <chrono>
#include <filesystem>
#include <optional>

#include "proto/result.h"
#include "storage/os_error.h"

namespace tunefleet::storage {

/// An exclusive lock among processes, and among the threads of one: flock(2) on a file that is made
/// for it (0600, empty, never read) and stays. It ends with the object or with the process, however
/// that dies; on a network file system with the client's lease there.
class FileLock {
 public:
  /// Waits for another holder. kUnavailable after `limit`, kNotFound when the directory is missing.
  static Result<FileLock> take(const std::filesystem::path& path, std::chrono::milliseconds limit);
  /// Nothing while another holds it.
  static Result<std::optional<FileLock>> try_take(const std::filesystem::path& path);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace tunefleet::storage

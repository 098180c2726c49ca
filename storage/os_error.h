#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "proto/result.h"

namespace tunefleet::storage {

/// A file descriptor that closes itself. Movable, not copyable; -1 is "none".
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  /// Closes now. Write errors are found by fsync before this, not here.
  void reset();

 private:
  int fd_ = -1;
};

/// The Error for a failed system call. `action` is the fixed text ("cannot open the file"),
/// `error_number` is errno, `bytes` what the call was to write (0: not a write).
///   ENOENT, ENOTDIR -> kNotFound; EACCES, EPERM, EROFS -> kPermissionDenied;
///   ENOSPC, EDQUOT, EFBIG -> kResourceExhausted "disk full"; ENOMEM, EMFILE, ENFILE ->
///   kResourceExhausted; all others -> kUnavailable.
tl::unexpected<Error> fail_os(std::string_view action, const std::filesystem::path& path,
                              int error_number, uint64_t bytes = 0);

/// fail_os() for what std::filesystem reported.
tl::unexpected<Error> fail_os(std::string_view action, const std::filesystem::path& path,
                              const std::error_code& code);

/// Makes directory entries durable: renames and unlinks in `directory` done before this call.
Status fsync_directory(const std::filesystem::path& directory);

/// Makes a file's content durable.
Status fsync_file(const std::filesystem::path& file);

}  // namespace tunefleet::storage

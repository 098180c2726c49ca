#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "proto/result.h"
#include "storage/os_error.h"

namespace tunefleet::storage {

/// A file that appears under its name complete or not at all: written under another name in the
/// same directory, synced, renamed over the name, and the directory synced. Destroyed before
/// commit(), it leaves no trace and the old file stays. One thread at a time.
class AtomicFile {
 public:
  /// Starts writing what is to become `path`, with `mode` (less the umask). The directory must be
  /// there. Errors as fail_os().
  static Result<AtomicFile> create(std::filesystem::path path, unsigned mode = 0644);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) = delete;
  ~AtomicFile();

  /// Appends. A full disk is kResourceExhausted and names the final path and the bytes.
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);

  /// Makes the file durable and visible. Nothing may be written after it.
  Status commit();

  uint64_t bytes_written() const { return bytes_written_; }

 private:
  AtomicFile() = default;

  std::filesystem::path path_;
  std::filesystem::path temporary_;  ///< Empty once committed or moved from.
  FileDescriptor fd_;
  uint64_t bytes_written_ = 0;
};

/// AtomicFile in one call.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content,
                             unsigned mode = 0644);

/// A whole small file as text. kInvalidArgument when it is larger than `max_bytes`.
Result<std::string> read_small_file(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace tunefleet::storage

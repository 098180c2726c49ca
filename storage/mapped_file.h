#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "proto/result.h"

namespace tunefleet::storage {

/// A whole regular file mapped read-only into memory. Movable, not copyable; addresses stay the
/// same when it moves. Reading is safe from any thread. A file that another process cuts short
/// while it is mapped raises SIGBUS on access: weights are replaced by rename, never in place.
class MappedFile {
 public:
  /// How the bytes will be read; a hint to the kernel, without effect on results.
  enum class Access { kNormal, kSequential, kRandom, kWillNeed };

  /// kNotFound, kPermissionDenied; kInvalidArgument for what is not a regular file.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// The file's bytes; empty for an empty file. Lives as long as this object.
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  void advise(Access access) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tunefleet::storage

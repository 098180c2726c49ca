#pragma once

#include <cstdint>
#include <filesystem>

namespace tunefleet::storage {

/// Tells whether a file was replaced since it was last read: a rename gives the name another inode.
/// All zero for a file that is not there.
struct FileStamp {
  uint64_t inode = 0;
  int64_t modified_ns = 0;
  int64_t bytes = 0;

  static FileStamp of(const std::filesystem::path& path);
  bool operator==(const FileStamp&) const = default;
};

}  // namespace tunefleet::storage

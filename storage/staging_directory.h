#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "proto/result.h"

namespace tunefleet::storage {

/// A directory being filled, removed with all its content unless it is committed: what readers see
/// under the final name is complete or absent. One owner, one thread.
class StagingDirectory {
 public:
  /// Makes `path`, which must not be there; its parent must. Errors as fail_os().
  static Result<StagingDirectory> create(std::filesystem::path path);

  StagingDirectory(StagingDirectory&& other) noexcept;
  StagingDirectory& operator=(StagingDirectory&& other) = delete;
  ~StagingDirectory();

  const std::filesystem::path& path() const { return path_; }

  /// Makes every file and directory inside durable.
  Status sync() const;

  /// Renames to `target` (absent, or an empty directory; same filesystem) and syncs its parent.
  /// After success nothing is removed any more.
  Status rename_to(const std::filesystem::path& target);

  /// Takes the place of `target`, a directory of the same filesystem, and removes what was there.
  /// One atomic exchange where the filesystem has it (Linux's local ones); else (NFS) the old one
  /// is first renamed to `aside`, and back if the second rename fails.
  Status replace(const std::filesystem::path& target, const std::filesystem::path& aside);

 private:
  explicit StagingDirectory(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path path_;  ///< Empty once renamed or moved from.
};

/// A name part that no other process, thread or earlier run on this host uses: "<time>-<pid>-<n>",
/// letters and digits only but for the dashes.
std::string unique_name();

}  // namespace tunefleet::storage

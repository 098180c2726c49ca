#include "storage/staging_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include "storage/os_error.h"

namespace tunefleet::storage {

namespace fs = std::filesystem;

Result<StagingDirectory> StagingDirectory::create(fs::path path) {
  if (::mkdir(path.c_str(), 0755) != 0) return fail_os("cannot create the directory", path, errno);
  return StagingDirectory(std::move(path));
}

StagingDirectory::StagingDirectory(StagingDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

StagingDirectory::~StagingDirectory() {
  std::error_code ignored;  // what stays is swept by the next writer
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Status StagingDirectory::sync() const {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(path_, error), end; !error && entry != end;
       entry.increment(error)) {
    Status synced;
    if (entry->is_directory(error)) {
      synced = fsync_directory(entry->path());
    } else if (entry->is_regular_file(error)) {
      synced = fsync_file(entry->path());
    }
    if (!synced) return synced;
  }
  if (error) return fail_os("cannot list the directory", path_, error);
  return fsync_directory(path_);
}

Status StagingDirectory::rename_to(const fs::path& target) {
  if (::rename(path_.c_str(), target.c_str()) != 0) {
    return fail_os("cannot rename the directory into place", target, errno);
  }
  path_.clear();
  return fsync_directory(target.parent_path());
}

Status StagingDirectory::replace(const fs::path& target, const fs::path& aside) {
  std::error_code ignored;  // what stays is swept by the next writer
  if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    const fs::path old = std::exchange(path_, {});
    const Status synced = fsync_directory(target.parent_path());
    if (synced) fs::remove_all(old, ignored);
    return synced;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return fail_os("cannot replace the directory", target, errno);
  }
  if (::rename(target.c_str(), aside.c_str()) != 0) {
    return fail_os("cannot move the directory aside", target, errno);
  }
  const Status renamed = rename_to(target);
  if (renamed) {
    fs::remove_all(aside, ignored);
  } else if (!path_.empty()) {
    ::rename(aside.c_str(), target.c_str());
  }
  return renamed;
}

std::string unique_name() {
  static std::atomic<uint64_t> counter{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return fmt::format("{:x}-{:x}-{}", std::chrono::nanoseconds(now).count(), ::getpid(), counter++);
}

}  // namespace tunefleet::storage

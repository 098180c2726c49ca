#include "storage/os_error.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace tunefleet::storage {

namespace {

bool means_disk_full(int error_number) {
  return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
}

ErrorCode code_of(int error_number) {
  if (means_disk_full(error_number)) return ErrorCode::kResourceExhausted;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return ErrorCode::kResourceExhausted;
    default:
      return ErrorCode::kUnavailable;
  }
}

Status fsync_path(const std::filesystem::path& path, int flags) {
  const FileDescriptor fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd.valid()) return fail_os("cannot open for syncing", path, errno);
  if (::fsync(fd.get()) != 0) return fail_os("cannot sync to the disk", path, errno);
  return {};
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

tl::unexpected<Error> fail_os(std::string_view action, const std::filesystem::path& path,
                              int error_number, uint64_t bytes) {
  const std::string reason = std::generic_category().message(error_number);
  if (means_disk_full(error_number)) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("disk full (free space or raise the quota, then try again): {}, {}, {} "
                            "bytes to write, {}",
                            action, path.string(), bytes, reason));
  }
  return fail(code_of(error_number), fmt::format("{}: {}, {}", action, path.string(), reason));
}

tl::unexpected<Error> fail_os(std::string_view action, const std::filesystem::path& path,
                              const std::error_code& code) {
  return fail_os(action, path, code.default_error_condition().value());
}

Status fsync_directory(const std::filesystem::path& directory) {
  return fsync_path(directory.empty() ? "." : directory, O_RDONLY | O_DIRECTORY);
}

Status fsync_file(const std::filesystem::path& file) { return fsync_path(file, O_RDONLY); }

}  // namespace tunefleet::storage

#include "storage/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

#include "storage/mapped_file.h"

namespace tunefleet::storage {

namespace {

/// A name beside `path` that no other process or thread uses.
std::filesystem::path name_beside(const std::filesystem::path& path) {
  static std::atomic<uint64_t> counter{0};
  return path.parent_path() /
         fmt::format(".{}.{}.{}.part", path.filename().string(), ::getpid(), counter++);
}

}  // namespace

Result<AtomicFile> AtomicFile::create(std::filesystem::path path, unsigned mode) {
  AtomicFile file;
  file.path_ = std::move(path);
  std::filesystem::path temporary = name_beside(file.path_);
  ::unlink(temporary.c_str());  // of a dead process that had our number
  file.fd_ = FileDescriptor(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file.fd_.valid()) return fail_os("cannot create the file", file.path_, errno);
  file.temporary_ = std::move(temporary);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)),
      bytes_written_(other.bytes_written_) {}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  constexpr size_t kMaxWrite = size_t{1} << 30;  // Linux takes at most 2 GiB at once
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd_.get(), bytes.data(), std::min(bytes.size(), kMaxWrite));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_os("cannot write the file", path_, errno, bytes.size());
    bytes = bytes.subspan(static_cast<size_t>(count));
    bytes_written_ += static_cast<uint64_t>(count);
  }
  return {};
}

Status AtomicFile::write(std::string_view text) { return write(std::as_bytes(std::span(text))); }

Status AtomicFile::commit() {
  if (::fsync(fd_.get()) != 0) {
    return fail_os("cannot sync the file to the disk", path_, errno, bytes_written_);
  }
  fd_.reset();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return fail_os("cannot rename the written file into place", path_, errno, bytes_written_);
  }
  temporary_.clear();
  return fsync_directory(path_.parent_path());
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content,
                             unsigned mode) {
  auto file = AtomicFile::create(path, mode);
  if (!file) return fail(file.error());
  if (Status written = file->write(content); !written) return written;
  return file->commit();
}

Result<std::string> read_small_file(const std::filesystem::path& path, uint64_t max_bytes) {
  const auto file = MappedFile::open(path);
  if (!file) return fail(file.error());
  const auto bytes = file->bytes();
  if (bytes.size() > max_bytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("file is too large for its kind: {}, {} > {} bytes", path.string(),
                            bytes.size(), max_bytes));
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace tunefleet::storage

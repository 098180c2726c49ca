#include "storage/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <thread>
#include <utility>

namespace tunefleet::storage {
namespace {

constexpr std::chrono::milliseconds kAskEvery{5};

}  // namespace

Result<std::optional<FileLock>> FileLock::try_take(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return fail_os("cannot open the lock", path, errno);
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) return fail_os("cannot lock the file", path, errno);
  }
  return FileLock(std::move(file));
}

Result<FileLock> FileLock::take(const std::filesystem::path& path,
                                std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto taken = try_take(path);
    if (!taken) return fail(taken.error());
    if (*taken) return std::move(**taken);
    if (std::chrono::steady_clock::now() >= until) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("another process holds the lock, ask again: {}", path.string()));
    }
    std::this_thread::sleep_for(kAskEvery);
  }
}

}  // namespace tunefleet::storage

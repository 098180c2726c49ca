#include "coordinator/client/data_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>

#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

std::filesystem::path lock_path(const std::filesystem::path& data_directory) {
  return data_directory / "up.lock";
}

pid_t pid_in(const std::filesystem::path& path) {
  const auto text = storage::read_small_file(path, 64);
  return text ? static_cast<pid_t>(std::strtol(text->c_str(), nullptr, 10)) : 0;
}

}  // namespace

Result<DataLock> DataLock::take(const std::filesystem::path& data_directory) {
  const auto path = lock_path(data_directory);
  storage::FileDescriptor file(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!file.valid()) return storage::fail_os("cannot open the lock", path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return storage::fail_os("cannot lock the file", path, errno);
    return fail(ErrorCode::kConflict,
                fmt::format("a service runs on this data directory already; stop it with "
                            "`tunefleet down --data {}` or choose another with --data: process {}",
                            data_directory.string(), pid_in(path)));
  }
  const std::string text = fmt::format("{}\n", ::getpid());
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return storage::fail_os("cannot write the lock", path, errno);
  }
  return DataLock(std::move(file));
}

pid_t DataLock::holder(const std::filesystem::path& data_directory) {
  const auto path = lock_path(data_directory);
  const storage::FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.valid() || ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return 0;
  return errno == EWOULDBLOCK ? pid_in(path) : 0;
}

}  // namespace tunefleet::coordinator

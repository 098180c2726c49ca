#include "coordinator/api/private_directory.h"

#include <sys/stat.h>

#include <cerrno>

#include "storage/os_error.h"

namespace tunefleet::coordinator {

Status make_private_directory(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  const int number = errno;
  if (std::filesystem::is_directory(path, error)) return {};
  return storage::fail_os("cannot make the directory", path, number == EEXIST ? ENOTDIR : number);
}

}  // namespace tunefleet::coordinator

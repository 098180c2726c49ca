#include "storage/file_stamp.h"

#include <sys/stat.h>

namespace tunefleet::storage {

FileStamp FileStamp::of(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {.inode = status.st_ino,
          .modified_ns = status.st_mtim.tv_sec * int64_t{1'000'000'000} + status.st_mtim.tv_nsec,
          .bytes = status.st_size};
}

}  // namespace tunefleet::storage

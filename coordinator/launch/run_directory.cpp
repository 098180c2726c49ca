#include "coordinator/launch/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace tunefleet::coordinator {
namespace {

/// Owns a file descriptor.
class File {
 public:
  File(const std::filesystem::path& path, int flags, unsigned mode)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

tl::unexpected<Error> cannot_write(const std::filesystem::path& path, int error) {
  const auto code =
      error == ENOSPC || error == EDQUOT ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable;
  return fail(code, fmt::format("cannot write, check space and permissions: {} ({})", path.string(),
                                std::strerror(error)));
}

bool write_all(int fd, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<size_t>(count);
  }
  return true;
}

bool is_plain_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

}  // namespace

Status write_file_atomically(const std::filesystem::path& path, const std::string& text,
                             unsigned mode) {
  const std::filesystem::path aside = path.string() + fmt::format(".{}.tmp", ::getpid());
  ::unlink(aside.c_str());
  {
    const File file(aside, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (file.get() < 0) return cannot_write(aside, errno);
    if (!write_all(file.get(), text) || ::fsync(file.get()) != 0) {
      const int error = errno;
      ::unlink(aside.c_str());
      return cannot_write(aside, error);
    }
  }
  if (::rename(aside.c_str(), path.c_str()) != 0) return cannot_write(path, errno);
  const File parent(path.has_parent_path() ? path.parent_path() : ".", O_RDONLY | O_DIRECTORY, 0);
  if (parent.get() < 0 || ::fsync(parent.get()) != 0) return cannot_write(path, errno);
  return {};
}

Result<std::filesystem::path> prepare_run_directory(const std::filesystem::path& jobs_directory,
                                                    const std::string& job,
                                                    const nlohmann::json& spec) {
  if (!is_plain_id(job)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("not a job id (letters, digits, - and _): {}", job.substr(0, 128)));
  }
  std::error_code error;
  const auto directory = std::filesystem::absolute(jobs_directory, error) / job;
  if (!error) std::filesystem::remove_all(directory / "exit", error);
  if (!error) std::filesystem::remove(directory / "result.json", error);
  if (!error) std::filesystem::create_directories(directory / "exit", error);
  if (error) return cannot_write(directory, error.value());
  const auto written = write_file_atomically(
      directory / "job.json",
      spec.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  if (!written) return fail(written.error());
  return directory;
}

}  // namespace tunefleet::coordinator

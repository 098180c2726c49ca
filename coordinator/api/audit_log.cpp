#include "coordinator/api/audit_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr unsigned kSecret = 0600;
constexpr size_t kMaxObject = 256;

/// "2026-01-31T12:00:00.000Z".
std::string time_text(int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), unix_ms % 1000);
}

std::filesystem::path numbered(const std::filesystem::path& path, int number) {
  return path.string() + "." + std::to_string(number);
}

std::string to_line(const AuditEntry& entry, int64_t now_ms) {
  const nlohmann::ordered_json line{
      {"time", time_text(now_ms)}, {"request", entry.request},
      {"tenant", entry.tenant},    {"key", entry.key},
      {"remote", entry.remote},    {"method", entry.method},
      {"route", entry.route},      {"object", entry.object.substr(0, kMaxObject)},
      {"status", entry.status}};
  return line.dump(-1, ' ', true, json::error_handler_t::replace) + "\n";
}

}  // namespace

AuditLog::AuditLog(AuditLogOptions options, std::function<int64_t()> now_ms)
    : options_(std::move(options)), now_ms_(std::move(now_ms)) {}

void AuditLog::record(const AuditEntry& entry) {
  const std::string line = to_line(entry, now_ms_());
  const std::lock_guard lock(mutex_);
  if (const auto written = append(line); !written) {
    log::error(fmt::format("not in the audit log: {}: {}", written.error().message,
                           line.substr(0, line.size() - 1)));
  }
}

Status AuditLog::append(const std::string& line) {
  if (!file_.valid()) {
    if (const auto opened = open(); !opened) return opened;
  }
  if (bytes_ > 0 && bytes_ + line.size() > options_.max_bytes) {
    if (const auto rotated = rotate(); !rotated) return rotated;
  }
  const ssize_t written = ::write(file_.get(), line.data(), line.size());
  const int number = written < 0 ? errno : ENOSPC;
  if (written > 0) bytes_ += static_cast<uint64_t>(written);
  if (written == static_cast<ssize_t>(line.size())) return {};
  file_.reset();  // Opened again for the next line: the disk may be back.
  return storage::fail_os("cannot append", options_.path, number, line.size());
}

Status AuditLog::open() {
  file_ = storage::FileDescriptor(::open(
      options_.path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW, kSecret));
  if (!file_.valid()) return storage::fail_os("cannot open", options_.path, errno);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) {
    return storage::fail_os("cannot look at", options_.path, errno);
  }
  bytes_ = static_cast<uint64_t>(status.st_size);
  return {};
}

Status AuditLog::rotate() {
  std::error_code ignored;  // Of files that are not there yet.
  for (int number = options_.kept_files; number > 1; --number) {
    std::filesystem::rename(numbered(options_.path, number - 1), numbered(options_.path, number),
                            ignored);
  }
  std::error_code error;
  std::filesystem::rename(options_.path, numbered(options_.path, 1), error);
  if (error) return storage::fail_os("cannot rotate", options_.path, error);
  return open();
}

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>

#include "proto/result.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {

/// One request as the audit log tells it. No body, no key, no query.
struct AuditEntry {
  std::string request{};  ///< "req_…", as in the reply's x-request-id.
  std::string tenant{};   ///< Empty when nobody was authenticated.
  std::string key{};      ///< The key's id.
  std::string remote{};   ///< Address of the connection's other end.
  std::string method{};
  std::string route{};   ///< The route's pattern; empty for an address that is not ours.
  std::string object{};  ///< Id of the thing it was about; cut after 256 bytes.
  int status = 0;
};

struct AuditLogOptions {
  std::filesystem::path path;        ///< <data>/audit.jsonl
  uint64_t max_bytes = 64ULL << 20;  ///< Then the file becomes <path>.1, that one <path>.2, …
  int kept_files = 4;                ///< Rotated files that are kept.
};

/// Who changed what, and who was refused: one JSON line each, appended to a file of mode 0600. A
/// line that cannot be written goes to the service's log and fails no request. Lines are not synced
/// to the disk one by one. Any thread.
class AuditLog {
 public:
  AuditLog(AuditLogOptions options, std::function<int64_t()> now_ms);

  void record(const AuditEntry& entry);

 private:
  Status append(const std::string& line);
  Status open();
  Status rotate();

  const AuditLogOptions options_;
  const std::function<int64_t()> now_ms_;
  std::mutex mutex_;
  storage::FileDescriptor file_;  ///< Guarded by mutex_, as is bytes_.
  uint64_t bytes_ = 0;            ///< In the file.
};

}  // namespace tunefleet::coordinator

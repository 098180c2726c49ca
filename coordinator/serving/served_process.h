#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {

/// A child whose stdin and stdout we hold; its stderr goes to a log. It has a process group of its
/// own and ends by itself at the end of its stdin, so that it does not outlive us. One thread may
/// read while another writes.
class ServedProcess {
 public:
  /// `arguments`: the program (a path, or looked up in PATH) and its words. kNotFound and the like
  /// when it cannot be run.
  static Result<std::unique_ptr<ServedProcess>> start(const std::vector<std::string>& arguments,
                                                      const std::filesystem::path& log);
  /// Kills its whole group if it still runs.
  ~ServedProcess();
  ServedProcess(const ServedProcess&) = delete;
  ServedProcess& operator=(const ServedProcess&) = delete;

  /// kTimeout when the child does not take it in time, kUnavailable when it has gone.
  Status write(std::string_view text, std::chrono::milliseconds limit);
  /// What it has written since the last call; waits for it, at most `limit`. Empty: nothing came in
  /// time. Nothing: it has closed its stdout, and will not write any more.
  std::optional<std::string> read(std::chrono::milliseconds limit);
  /// Ends its stdin.
  void close_input();
  /// From any thread; nothing when its end has been waited for.
  void kill();
  /// Waits for its end, then kills it. How it ended, in words: "ended with exit code 1". Once.
  std::string wait_or_kill(std::chrono::milliseconds limit);

 private:
  ServedProcess(pid_t pid, storage::FileDescriptor socket)
      : pid_(pid), socket_(std::move(socket)) {}
  /// How it ended, as waitpid() tells it; nothing while it runs, or when that has been told.
  std::optional<int> reap();

  const pid_t pid_;
  const storage::FileDescriptor socket_;  ///< Its stdin and stdout are the other end.
  std::mutex mutex_;  ///< Guards `reaped_`: from then on the number may be another process's.
  bool reaped_ = false;
};

}  // namespace tunefleet::coordinator

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// What to run. The child gets its own process group, so that a Ctrl-C in the terminal reaches only
/// us, and a SIGTERM from the kernel when we die.
struct ChildSpec {
  std::string name;  ///< "redis-server": what people are told about.
  std::vector<std::string>
      arguments;              ///< The program (looked up in PATH without a slash) and its words.
  std::filesystem::path log;  ///< Its stdout and stderr are appended there.
};

/// One child of this process. Start it from a thread that lives as long as the process: the kernel
/// takes the end of the starting thread for our death. Ended with SIGKILL when destroyed.
class ChildProcess {
 public:
  explicit ChildProcess(ChildSpec spec) : spec_(std::move(spec)) {}
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// kNotFound when there is no such program, kPermissionDenied and the like with the system's
  /// words.
  Status start();
  /// How it ended, in words ("ended with exit code 1", "was killed by SIGKILL"), told once; nothing
  /// while it runs.
  std::optional<std::string> poll_end();
  bool running() const { return pid_ > 0; }
  /// Sends a signal; nothing when it does not run.
  void signal(int number) const;
  /// Waits for the end for at most `limit`, then kills its whole group.
  void wait_or_kill(std::chrono::milliseconds limit);

  pid_t pid() const { return pid_; }
  const ChildSpec& spec() const { return spec_; }
  /// The end of what it has logged since it was started, for an error message.
  std::string log_tail() const;

 private:
  ChildSpec spec_;
  pid_t pid_ = -1;
  int64_t log_begin_ = 0;  ///< Where the log was when it was started.
};

/// True when PATH has an executable of that name.
bool is_in_path(const std::string& program);

}  // namespace tunefleet::coordinator

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "proto/result.h"
#include "worker/agent/gang_launch.h"
#include "worker/agent/gang_processes.h"

namespace tunefleet::agent {

/// This agent's ranks of a gang another agent leads: orted in a session of its own, below it
/// exec-rank and the trainer.
///
///   start() -> running --orted ended, or end()--> ending --> over (nothing of it is left)
///
/// orted ends when mpirun says so, or has gone: then it ends its ranks by itself, which takes it up
/// to 10 s; mostly exec-on or the coordinator tells sooner (end()). A rank whose exec-rank was
/// killed is reported here, where that can be seen. Owned by the agent's thread; never blocks
/// longer than a fork.
class GangPart {
 public:
  /// Starts what mpirun asks for; `command` as orted_options() takes it. kPermissionDenied for
  /// another command, kUnavailable when the run directory is not to be seen here, kNotFound when
  /// orted cannot be started.
  static Result<GangPart> start(const LaunchOptions& options, const GangOrder& order,
                                const std::string& command);

  const GangOrder& order() const { return order_; }
  /// Why the gang should stop, from leave(); empty: it need not.
  const std::string& stop_reason() const { return stop_reason_; }

  /// SIGTERM to the ranks; `grace_ms` later they are killed. The shortest grace counts.
  void stop(int64_t now_ms, int64_t grace_ms);
  /// Wants the lead to stop the gang in order; without that the ranks are killed `grace_ms` later.
  void leave(int64_t now_ms, int64_t grace_ms, const std::string& reason);
  /// Kills all now.
  void end();
  /// To be told of every process waitpid() returned.
  void on_reaped(pid_t pid, int status);
  /// Moves on; call at least five times a second. True once nothing of the part is left.
  bool advance_to(int64_t now_ms);

  /// orted's, once it has ended; 128 + number when a signal ended it.
  int exit_code() const { return exit_code_; }
  /// orted's last lines.
  const std::string& last_output() const { return last_output_; }

 private:
  GangPart(const LaunchOptions& options, const GangOrder& order);
  void report_vanished_rank();
  void set_deadline(int64_t deadline_ms);

  std::string host_;
  GangOrder order_;
  std::filesystem::path exit_directory_;
  std::filesystem::path scratch_;  ///< make_scratch(); removed at the end.
  GangProcesses processes_;
  bool orted_running_ = false;
  bool stopping_ = false;
  bool ending_ = false;
  std::string stop_reason_;
  std::string last_output_;
  int exit_code_ = 0;
  int64_t deadline_ms_ = 0;  ///< When what is left is killed; 0: not.
};

}  // namespace tunefleet::agent

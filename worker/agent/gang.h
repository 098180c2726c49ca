#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "proto/result.h"
#include "worker/agent/first_failure.h"
#include "worker/agent/gang_launch.h"
#include "worker/agent/gang_processes.h"

namespace tunefleet::agent {

/// The gang this agent leads: mpirun in a session of its own, below it exec-rank and the trainer.
/// Ranks of other agents hang below exec-on (exec_on.h), one for each; what happens to them is read
/// from the run directory.
///
///   start() -> running --mpirun ended, or a rank failed, or stop()--> ending --> over (nothing of
///   it is left)
///
/// mpirun only launches. What it would do when a rank is gone (SIGTERM, then SIGKILL a second
/// later) leaves no time for a checkpoint and takes two seconds, so it is told to wait, and this
/// class does the ending: SIGTERM goes to the exec-ranks themselves, SIGKILL to every process of
/// the gang. The exec-ons live on until their agents have confirmed that nothing is left there, 2 s
/// at most. Owned by the agent's thread; never blocks longer than a fork.
class Gang {
 public:
  /// Starts the gang. kNotFound when mpirun cannot be started, kInvalidArgument when it cannot be
  /// told this gang, with the way out.
  static Result<Gang> start(const LaunchOptions& options, const GangOrder& order);

  const GangOrder& order() const { return order_; }
  bool stopping() const { return stop_deadline_ms_ != 0; }

  /// Asks the ranks to end; `grace_ms` later they are killed. The first call counts. `now_ms`:
  /// steady clock.
  void stop(int64_t now_ms, int64_t grace_ms, const std::string& reason);
  /// To be told of every process waitpid() returned.
  void on_reaped(pid_t pid, int status);
  /// Moves on; call at least five times a second. True once nothing of the gang is left.
  bool advance_to(int64_t now_ms);

  /// Why it failed; nothing when all ranks ended well. A gang that was stopped reports `cancelled`
  /// with the reason.
  std::optional<Failure> failure() const;
  /// Contents of result.json; "" when the run wrote none.
  std::string result_json() const;

 private:
  Gang(const LaunchOptions& options, const GangOrder& order);
  std::filesystem::path log_file() const { return order_.run_directory / "ranks.log"; }
  bool part_failed(const RankFiles& files);
  void look_for_lost_host();
  void listen_to_parts(const RankFiles& files, int64_t now_ms);
  int64_t end_of_patience(int64_t now_ms);

  std::string host_;
  GangOrder order_;
  std::filesystem::path exit_directory_;
  std::filesystem::path scratch_;  ///< make_scratch(); removed at the end.
  GangProcesses processes_;
  bool mpirun_running_ = false;
  uint64_t log_read_ = 0;  ///< Bytes of ranks.log that are of older attempts, or looked through.
  LauncherEnd launcher_;
  std::string stop_reason_;
  int64_t stop_deadline_ms_ = 0;  ///< 0: not stopping.
  int64_t killing_since_ms_ = 0;  ///< 0: not killing.
  int64_t kill_after_ms_ = 0;     ///< Set when the gang is over but for leftovers; 0: still going.
};

}  // namespace tunefleet::agent

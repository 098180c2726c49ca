#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/result.h"
#include "worker/agent/first_failure.h"

namespace tunefleet::agent {

/// What is needed to start ranks on this machine; the same for every gang.
struct LaunchOptions {
  std::string host{};
  std::string mpirun = "mpirun";
  std::filesystem::path agent_program{};  ///< This executable: mpirun starts it as exec-rank.
  std::filesystem::path trainer_program{};
  std::filesystem::path curve_file{};  ///< Goes to the ranks as TUNEFLEET_CURVE.
};

/// One start of a job, as asked for by StartGang.
struct GangOrder {
  std::string job{};
  int64_t attempt = 0;
  int ranks = 1;
  std::filesystem::path run_directory{};
  std::string rank_endpoint{};
};

/// The ranks of one job on this machine: mpirun in a session of its own, below it exec-rank and the
/// trainer.
///
///   start() -> running --mpirun ended, or a rank failed, or stop()--> ending --> over (nothing of
///   it is left)
///
/// mpirun only launches. What it would do when a rank is gone (SIGTERM, then SIGKILL a second
/// later) leaves no time for a checkpoint and takes two seconds, so it is told to wait, and this
/// class does the ending: SIGTERM goes to the exec-ranks themselves, SIGKILL to every process of
/// the gang. Owned by the agent's thread; never blocks longer than a fork.
class Gang {
 public:
  /// Starts the gang. kNotFound when mpirun cannot be started, with the way out.
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
  /// Kills everything at once.
  void kill_all() const;

  /// Why it failed; nothing when all ranks ended well. A gang that was stopped reports `cancelled`
  /// with the reason.
  std::optional<Failure> failure() const;
  /// Contents of result.json; "" when the run wrote none.
  std::string result_json() const;

 private:
  Gang(const LaunchOptions& options, const GangOrder& order);
  void terminate_ranks();
  bool rank_failed(const RankFiles& files);
  int64_t end_of_patience(int64_t now_ms);

  std::string host_;
  GangOrder order_;
  std::filesystem::path exit_directory_;
  std::filesystem::path
      scratch_;      ///< Open MPI's session and shared-memory files; removed at the end.
  std::string tag_;  ///< "<job>/<attempt>", in every process' environment.
  pid_t mpirun_ = -1;
  bool mpirun_running_ = false;
  LauncherEnd launcher_;
  std::string stop_reason_;
  std::set<int> terminated_;      ///< Ranks that were sent SIGTERM.
  int64_t stop_deadline_ms_ = 0;  ///< 0: not stopping.
  int64_t kill_after_ms_ = 0;     ///< Set when the gang is over but for leftovers; 0: still going.
};

/// Removes what gangs of agents that were killed left in memory.
void remove_stale_scratch();

}  // namespace tunefleet::agent

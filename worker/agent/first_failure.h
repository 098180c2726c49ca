#pragma once

#include <optional>
#include <string>

#include "worker/agent/run_files.h"

namespace tunefleet::agent {

/// Which rank a gang's failure is blamed on, and why; the wire's RankFailure. Rank -1: no rank, the
/// launch itself.
struct Failure {
  int rank = -1;
  std::string host{};
  std::string code{};
  std::string message{};
};

/// What happened to mpirun, for the case that no rank tells anything.
struct LauncherEnd {
  int exit_code = 0;
  int signal = 0;
  bool by_itself = false;              ///< It ended before anything of the gang was killed.
  std::optional<int> vanished_rank{};  ///< Its exec-rank was killed, so that it could not report.
  std::optional<std::string> lost_host{};  ///< mpirun has no connection to its orted any more.
  std::string last_output{};               ///< Last lines of ranks.log.
};

/// The first rank that failed, or nothing when all `ranks` ended well. Pure.
///
/// Who is blamed, the first of:
///   1. a host that was lost: what the ranks of other hosts say then is that a peer is gone;
///   2. the rank that ended badly first without having been told to stop;
///   3. another agent that could not run its part, or whose part ended;
///   4. the rank that ended first after it was told to (mpirun stops the others once one is gone);
///   5. a rank whose exec-rank was killed, so that it left no report;
///   6. mpirun.
/// What is said: the rank's own error when it wrote one, else its signal or exit code.
std::optional<Failure> first_failure(const RankFiles& files, int ranks, const std::string& host,
                                     const LauncherEnd& launcher);

/// The agent mpirun says it has lost, in its output; nothing when it says none.
/// Source: help-errmgr-base.txt of Open MPI 4.1, [node-died].
std::optional<std::string> lost_host_in(const std::string& output);

/// "killed by SIGKILL (out of memory?)", "exited with code 2".
std::string end_text(int exit_code, int signal);
/// Error code of an end without words of its own: 2 is the user's input, 3 and signals are
/// infrastructure.
std::string end_code(int exit_code, int signal);

}  // namespace tunefleet::agent

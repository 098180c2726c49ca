#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet::agent {

/// What is needed to start ranks on this machine; the same for every gang.
struct LaunchOptions {
  std::string host{};
  std::string coordinator{};  ///< As CoordinatorLink takes it: for exec-on.
  std::string mpirun = "mpirun";
  std::filesystem::path agent_program{};  ///< This executable: mpirun starts it as exec-rank.
  std::filesystem::path trainer_program{};
  std::filesystem::path curve_file{};  ///< Goes to the ranks as TUNEFLEET_CURVE.
};

/// Ranks of a gang on one agent.
struct HostRanks {
  std::string host{};
  int ranks = 0;
};

/// One start of a job, as asked for by StartGang.
struct GangOrder {
  std::string job{};
  int64_t attempt = 0;
  int ranks = 1;
  std::filesystem::path run_directory{};
  std::string rank_endpoint{};  ///< Where ranks report to first; then wherever their agent would.
  std::vector<HostRanks>
      parts{};  ///< Of several agents, this one first; empty: all ranks are here.
};

/// "<job>/<attempt>": what a gang's processes carry in their environment.
std::string gang_tag(const GangOrder& order);

/// Whether mpirun and a file name can carry it: letters, digits, '.', '-', '_', at most 255.
bool is_plain_host_name(const std::string& host);

/// The node name mpirun gets for an agent, and the agent's back; "" when it is none. It is never a
/// name mpirun could take for its own machine, so that ranks reach every host the same way.
std::string node_name_of(const std::string& host);
std::string host_of_node_name(const std::string& node);

/// A directory for Open MPI's files of one gang, in memory where there is some: its shared-memory
/// segments lie there too. Empty when it cannot be made.
std::filesystem::path make_scratch();
/// Removes what gangs of agents that were killed left in memory.
void remove_stale_scratch();

/// Seconds that mpirun and its host's orted wait between the steps of ending ranks (SIGCONT,
/// SIGTERM, SIGKILL) once one is gone: for ever, the agent ends them.
inline constexpr char kLeadPatience[] = "3600";
/// Another host's orted, which has to end ranks by itself when it has lost mpirun.
inline constexpr char kPartPatience[] = "5";
inline constexpr char kPatienceVariable[] = "OMPI_MCA_odls_base_sigkill_timeout";

/// mpirun's command line. kInvalidArgument when a gang over several agents cannot be written down
/// in it.
Result<std::vector<std::string>> mpirun_words(const LaunchOptions& options, const GangOrder& order);

/// orted that belongs to the agent's mpirun.
std::string orted_program(const LaunchOptions& options);

/// The environment of a launcher and its ranks on this machine: the agent's, less what is not
/// theirs, and the gang's.
std::vector<std::string> gang_environment(const LaunchOptions& options, const GangOrder& order,
                                          const std::filesystem::path& scratch);

/// Starts a launcher in a session of its own, with its output at the end of `log`; it dies with
/// this process. 0 and its pid, or the errno of what failed.
int spawn(std::vector<std::string> words, std::vector<std::string> variables,
          const std::filesystem::path& log, pid_t& pid);

}  // namespace tunefleet::agent

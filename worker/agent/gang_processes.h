#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "worker/agent/run_files.h"

namespace tunefleet::agent {

/// The processes of one gang on this machine: a launcher (mpirun at the lead, orted at the others)
/// in a session of its own, and everything below it or tagged as the gang's.
class GangProcesses {
 public:
  /// `host`: this agent's name; of the ranks in `exit_directory` only its own are touched.
  GangProcesses(std::string tag, std::string host, std::filesystem::path exit_directory);

  void launched(pid_t launcher) { launcher_ = launcher; }
  pid_t launcher() const { return launcher_; }

  /// All that run now, but for zombies.
  std::vector<pid_t> alive() const;
  /// SIGTERM to every exec-rank here that has not had one and has not reported its end, and to
  /// every exec-on, which passes it on.
  void terminate_ranks();
  /// Kills all. exec-ons get `for_exec_on` instead: SIGHUP lets them tell their agents.
  void kill_all(int for_exec_on) const;
  /// A rank of this host whose exec-rank was killed, so that it left no report.
  std::optional<int> vanished_rank(const RankFiles& files) const;

 private:
  std::string tag_;
  std::string host_;
  std::filesystem::path exit_directory_;
  pid_t launcher_ = -1;
  std::set<pid_t> terminated_;
};

}  // namespace tunefleet::agent

#include "worker/agent/gang_processes.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#include "worker/agent/process_tree.h"

namespace tunefleet::agent {

GangProcesses::GangProcesses(std::string tag, std::string host,
                             std::filesystem::path exit_directory)
    : tag_(std::move(tag)), host_(std::move(host)), exit_directory_(std::move(exit_directory)) {}

std::vector<pid_t> GangProcesses::alive() const { return gang_processes(launcher_, tag_); }

void GangProcesses::terminate_ranks() {
  const auto ours = alive();
  const auto terminate = [this](pid_t pid) {
    if (terminated_.insert(pid).second) ::kill(pid, SIGTERM);
  };
  const RankFiles files = read_rank_files(exit_directory_);
  for (const auto& [rank, exec] : files.exec_ranks) {
    if (exec.host != host_ || files.exits.contains(rank)) continue;
    // A number in a file may have become another process' since.
    const auto pid = static_cast<pid_t>(exec.pid);
    if (std::ranges::find(ours, pid) != ours.end()) terminate(pid);
  }
  for (const pid_t pid : ours) {
    if (is_exec_on(pid)) terminate(pid);
  }
}

void GangProcesses::kill_all(int for_exec_on) const {
  for (const pid_t pid : alive()) ::kill(pid, is_exec_on(pid) ? for_exec_on : SIGKILL);
}

std::optional<int> GangProcesses::vanished_rank(const RankFiles& files) const {
  for (const auto& [rank, exec] : files.exec_ranks) {
    if (exec.host != host_ || files.exits.contains(rank)) continue;
    if (is_running(static_cast<pid_t>(exec.pid))) continue;
    // Its report is written before exec-rank ends: without one, exec-rank was killed.
    if (!std::filesystem::exists(exit_directory_ / fmt::format("{}.json", rank))) return rank;
  }
  return std::nullopt;
}

}  // namespace tunefleet::agent

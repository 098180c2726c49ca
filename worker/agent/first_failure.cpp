#include "worker/agent/first_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string_view>
#include <tuple>
#include <vector>

#include "proto/result.h"
#include "worker/agent/gang_launch.h"

namespace tunefleet::agent {
namespace {

std::string name_of(ErrorCode code) { return std::string(error_code_name(code)); }

/// "SIGKILL" for 9; "signal 77" for a number without a name.
std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? fmt::format("signal {}", signal) : fmt::format("SIG{}", name);
}

std::vector<ExitReport> failed_in_order_of_blame(const RankFiles& files) {
  std::vector<ExitReport> failed;
  for (const auto& [rank, report] : files.exits) {
    if (report.failed()) failed.push_back(report);
  }
  std::ranges::sort(failed, {}, [](const ExitReport& report) {
    return std::make_tuple(report.terminated_at_ms != 0, report.ended_at_ms, report.rank);
  });
  return failed;
}

Failure blame(const ExitReport& report, const RankFiles& files, const std::string& host) {
  Failure failure{.rank = report.rank,
                  .host = report.host.empty() ? host : report.host,
                  .code = end_code(report.exit_code, report.signal),
                  .message = end_text(report.exit_code, report.signal)};
  if (const auto said = files.errors.find(report.rank);
      said != files.errors.end() && !said->second.message.empty()) {
    failure.code = said->second.code;
    failure.message = said->second.message;
  }
  return failure;
}

/// "1" or "1, 2": the ranks of `host` that left no report.
std::string silent_ranks(const RankFiles& files, const std::string& host) {
  std::string ranks;
  for (const auto& [rank, exec] : files.exec_ranks) {
    if (exec.host != host || files.exits.contains(rank)) continue;
    ranks += (ranks.empty() ? "" : ", ") + std::to_string(rank);
  }
  return ranks;
}

Failure host_lost(const RankFiles& files, const std::string& host) {
  const std::string ranks = silent_ranks(files, host);
  return {.rank = -1,
          .host = host,
          .code = name_of(ErrorCode::kUnavailable),
          .message = fmt::format("the host was lost{}: its agent or all of its ranks were killed, "
                                 "or the network to it is down",
                                 ranks.empty() ? "" : " with rank " + ranks)};
}

/// Another agent's part that never ran, or is over.
std::optional<Failure> part_failure(const RankFiles& files) {
  for (const auto& [host, note] : files.parts) {
    if (!note.ended) continue;
    return Failure{.rank = -1,
                   .host = host,
                   .code = name_of(ErrorCode::kUnavailable),
                   .message = note.message};
  }
  return std::nullopt;
}

Failure launcher_failure(const std::string& host, const LauncherEnd& launcher) {
  const std::string how = launcher.signal != 0
                              ? fmt::format("was killed by {}", signal_name(launcher.signal))
                              : fmt::format("ended with code {}", launcher.exit_code);
  return {.rank = -1,
          .host = host,
          .code = name_of(ErrorCode::kUnavailable),
          .message = fmt::format("mpirun {} before all ranks had run; its last lines: {}", how,
                                 launcher.last_output.empty() ? "(none)" : launcher.last_output)};
}

}  // namespace

std::optional<std::string> lost_host_in(const std::string& output) {
  constexpr std::string_view kWords = "lost communication with a remote daemon";
  constexpr std::string_view kNode = " on node ";
  auto at = output.find(kWords);
  if (at != output.npos) at = output.find("Remote daemon", at + kWords.size());
  if (at != output.npos) at = output.find(kNode, at);
  if (at == output.npos) return std::nullopt;
  const auto start = at + kNode.size();
  const auto end = output.find('\n', start);
  if (end == output.npos) return std::nullopt;  // Not written to its end yet.
  const std::string host = host_of_node_name(output.substr(start, end - start));
  return host.empty() ? std::nullopt : std::optional(host);
}

std::string end_text(int exit_code, int signal) {
  if (signal == SIGKILL) return "killed by SIGKILL (out of memory?)";
  if (signal != 0) return fmt::format("killed by {}", signal_name(signal));
  if (exit_code == 128 + SIGTERM) return "stopped by SIGTERM";
  return fmt::format("exited with code {}", exit_code);
}

std::string end_code(int exit_code, int signal) {
  if (signal == SIGKILL) return name_of(ErrorCode::kUnavailable);
  if (signal == 0 && exit_code == 2) return name_of(ErrorCode::kInvalidArgument);
  if (signal == 0 && exit_code == 3) return name_of(ErrorCode::kUnavailable);
  if (signal == SIGTERM || exit_code == 128 + SIGTERM) return name_of(ErrorCode::kCancelled);
  return name_of(ErrorCode::kInternal);
}

std::optional<Failure> first_failure(const RankFiles& files, int ranks, const std::string& host,
                                     const LauncherEnd& launcher) {
  if (launcher.lost_host) return host_lost(files, *launcher.lost_host);
  const auto failed = failed_in_order_of_blame(files);
  const bool by_itself = !failed.empty() && failed.front().terminated_at_ms == 0;
  if (by_itself) return blame(failed.front(), files, host);
  if (const auto part = part_failure(files)) return part;
  if (!failed.empty()) return blame(failed.front(), files, host);
  if (static_cast<int>(files.exits.size()) >= ranks) return std::nullopt;
  if (launcher.vanished_rank) {
    return Failure{.rank = *launcher.vanished_rank,
                   .host = host,
                   .code = name_of(ErrorCode::kUnavailable),
                   .message = "killed by SIGKILL together with the process that watched it"};
  }
  return launcher_failure(host, launcher);
}

}  // namespace tunefleet::agent

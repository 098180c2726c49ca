#include "worker/agent/first_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <tuple>
#include <vector>

#include "proto/result.h"

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

}  // namespace

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
  const auto failed = failed_in_order_of_blame(files);
  if (!failed.empty()) return blame(failed.front(), files, host);
  if (static_cast<int>(files.exits.size()) >= ranks) return std::nullopt;
  if (launcher.vanished_rank) {
    return Failure{.rank = *launcher.vanished_rank,
                   .host = host,
                   .code = name_of(ErrorCode::kUnavailable),
                   .message = "killed by SIGKILL together with the process that watched it"};
  }
  const std::string how = launcher.signal != 0
                              ? fmt::format("was killed by {}", signal_name(launcher.signal))
                              : fmt::format("ended with code {}", launcher.exit_code);
  return Failure{
      .rank = -1,
      .host = host,
      .code = name_of(ErrorCode::kUnavailable),
      .message = fmt::format("mpirun {} before all ranks had run; its last lines: {}", how,
                             launcher.last_output.empty() ? "(none)" : launcher.last_output)};
}

}  // namespace tunefleet::agent

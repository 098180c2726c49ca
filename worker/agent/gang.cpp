#include "worker/agent/gang.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>

namespace tunefleet::agent {
namespace {

/// After the first rank failed: how long the others may still tell their side before they are
/// killed.
constexpr int64_t kLastWordsMs = 300;
/// After all ranks ended well: how long mpirun may take to leave.
constexpr int64_t kMpirunLeavesMs = 10'000;
/// After the killing began: how long exec-ons may wait for their agents, and how long when one of
/// these is known to be lost.
constexpr int64_t kPartsLeaveMs = 2'500;
constexpr int64_t kOtherPartsLeaveMs = 300;
constexpr int64_t kLeavingPartGraceMs = 10'000;
constexpr size_t kLogOverlap = 1024;  ///< Longer than what is looked for in the log.

}  // namespace

Gang::Gang(const LaunchOptions& options, const GangOrder& order)
    : host_(options.host),
      order_(order),
      exit_directory_(exit_directory_of(order.run_directory, order.attempt)),
      processes_(gang_tag(order), options.host, exit_directory_) {}

Result<Gang> Gang::start(const LaunchOptions& options, const GangOrder& order) {
  auto words = mpirun_words(options, order);
  if (!words) return fail(words.error());
  Gang gang(options, order);
  std::error_code error;
  std::filesystem::remove_all(order.run_directory / "exit", error);
  std::filesystem::remove(order.run_directory / "result.json", error);
  std::filesystem::create_directories(gang.exit_directory_, error);
  if (error) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("the run directory cannot be used, is shared storage mounted? {} ({})",
                            order.run_directory.string(), error.message()));
  }
  gang.scratch_ = make_scratch();
  const auto older_log = std::filesystem::file_size(gang.log_file(), error);
  gang.log_read_ = error ? 0 : older_log;
  pid_t mpirun = -1;
  const int problem = spawn(std::move(*words), gang_environment(options, order, gang.scratch_),
                            gang.log_file(), mpirun);
  if (problem != 0) {
    std::filesystem::remove_all(gang.scratch_, error);
    return fail(
        ErrorCode::kNotFound,
        fmt::format("cannot start mpirun, install Open MPI (apt-get install openmpi-bin) or "
                    "name it with --mpirun: {} ({})",
                    options.mpirun, std::strerror(problem)));
  }
  gang.processes_.launched(mpirun);
  gang.mpirun_running_ = true;
  return gang;
}

void Gang::stop(int64_t now_ms, int64_t grace_ms, const std::string& reason) {
  if (stopping()) return;
  stop_reason_ = reason;
  stop_deadline_ms_ = now_ms + std::max<int64_t>(grace_ms, 1);
  processes_.terminate_ranks();
}

void Gang::on_reaped(pid_t pid, int status) {
  if (pid != processes_.launcher()) return;
  mpirun_running_ = false;
  launcher_.by_itself = kill_after_ms_ == 0;
  if (WIFSIGNALED(status)) {
    launcher_.signal = WTERMSIG(status);
  } else {
    launcher_.exit_code = WEXITSTATUS(status);
  }
}

/// Whether a rank, or all ranks of a host, have failed.
bool Gang::part_failed(const RankFiles& files) {
  if (std::ranges::any_of(files.exits, [](const auto& exit) { return exit.second.failed(); }) ||
      std::ranges::any_of(files.parts, [](const auto& part) { return part.second.ended; })) {
    return true;
  }
  launcher_.vanished_rank = processes_.vanished_rank(files);
  if (launcher_.vanished_rank) return true;
  look_for_lost_host();
  return launcher_.lost_host.has_value();
}

/// Reads on in what mpirun says. It would itself wait for ranks it has no way to any more.
void Gang::look_for_lost_host() {
  if (order_.parts.empty() || launcher_.lost_host) return;
  const std::string text = text_from(log_file(), log_read_);
  launcher_.lost_host = lost_host_in(text);
  if (text.size() > kLogOverlap) log_read_ += text.size() - kLogOverlap;
}

/// An agent that has to leave asks for the whole gang to stop: only rank 0 can stop a run in order.
void Gang::listen_to_parts(const RankFiles& files, int64_t now_ms) {
  for (const auto& [host, note] : files.parts) {
    if (!note.ended) stop(now_ms, kLeavingPartGraceMs, note.message);
  }
}

/// When everything left of the gang is to be killed; 0: not yet.
int64_t Gang::end_of_patience(int64_t now_ms) {
  if (!mpirun_running_) return now_ms;
  const RankFiles files = read_rank_files(exit_directory_);
  const bool all_reported = static_cast<int>(files.exits.size()) >= order_.ranks;
  listen_to_parts(files, now_ms);
  if (stopping()) {
    processes_.terminate_ranks();
    return all_reported || now_ms >= stop_deadline_ms_ ? now_ms : 0;
  }
  if (part_failed(files)) return now_ms + kLastWordsMs;
  return all_reported ? now_ms + kMpirunLeavesMs : 0;
}

bool Gang::advance_to(int64_t now_ms) {
  if (kill_after_ms_ == 0) kill_after_ms_ = end_of_patience(now_ms);
  if (kill_after_ms_ == 0) return false;
  if (processes_.alive().empty() && !mpirun_running_) {
    launcher_.last_output = last_lines(log_file(), 5);
    std::error_code ignored;
    if (!scratch_.empty()) std::filesystem::remove_all(scratch_, ignored);
    return true;
  }
  if (mpirun_running_ && now_ms < kill_after_ms_) return false;
  if (killing_since_ms_ == 0) {
    killing_since_ms_ = now_ms;
    look_for_lost_host();  // What mpirun says from now on is our doing.
  }
  const int64_t patience_ms = launcher_.lost_host ? kOtherPartsLeaveMs : kPartsLeaveMs;
  processes_.kill_all(now_ms - killing_since_ms_ < patience_ms ? SIGHUP : SIGKILL);
  return false;
}

std::optional<Failure> Gang::failure() const {
  const RankFiles files = read_rank_files(exit_directory_);
  const bool all_well =
      std::ranges::all_of(files.exits, [](const auto& exit) { return !exit.second.failed(); }) &&
      static_cast<int>(files.exits.size()) >= order_.ranks;
  if (all_well) return std::nullopt;
  if (stopping()) {
    return Failure{.rank = -1,
                   .host = host_,
                   .code = std::string(error_code_name(ErrorCode::kCancelled)),
                   .message = stop_reason_};
  }
  return first_failure(files, order_.ranks, host_, launcher_);
}

std::string Gang::result_json() const {
  return valid_utf8(file_text(order_.run_directory / "result.json"));
}

}  // namespace tunefleet::agent

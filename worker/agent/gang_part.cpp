#include "worker/agent/gang_part.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "worker/agent/orted_command.h"

namespace tunefleet::agent {
namespace {

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

GangPart::GangPart(const LaunchOptions& options, const GangOrder& order)
    : host_(options.host),
      order_(order),
      exit_directory_(exit_directory_of(order.run_directory, order.attempt)),
      processes_(gang_tag(order), options.host, exit_directory_) {}

Result<GangPart> GangPart::start(const LaunchOptions& options, const GangOrder& order,
                                 const std::string& command) {
  const auto wanted = orted_options(command);
  if (!wanted) return fail(wanted.error());
  GangPart part(options, order);
  std::error_code error;
  if (!std::filesystem::is_directory(part.exit_directory_, error)) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("the run directory is not here, is shared storage mounted? {}",
                            order.run_directory.string()));
  }
  part.scratch_ = make_scratch();
  if (part.scratch_.empty()) {
    return fail(ErrorCode::kUnavailable, "no room for Open MPI's files in /dev/shm or TMPDIR");
  }
  std::vector<std::string> words{orted_program(options)};
  words.insert(words.end(), wanted->begin(), wanted->end());
  pid_t orted = -1;
  auto variables = gang_environment(options, order, part.scratch_);
  variables.push_back(fmt::format("{}={}", kPatienceVariable, kPartPatience));
  const int problem = spawn(words, std::move(variables), part.scratch_ / "orted.log", orted);
  if (problem != 0) {
    std::filesystem::remove_all(part.scratch_, error);
    return fail(ErrorCode::kNotFound,
                fmt::format("cannot start orted, install Open MPI (apt-get install openmpi-bin): "
                            "{} ({})",
                            words.front(), std::strerror(problem)));
  }
  part.processes_.launched(orted);
  part.orted_running_ = true;
  return part;
}

void GangPart::set_deadline(int64_t deadline_ms) {
  if (deadline_ms_ == 0 || deadline_ms < deadline_ms_) deadline_ms_ = deadline_ms;
}

void GangPart::stop(int64_t now_ms, int64_t grace_ms) {
  stopping_ = true;
  set_deadline(now_ms + std::max<int64_t>(grace_ms, 1));
  processes_.terminate_ranks();
}

void GangPart::leave(int64_t now_ms, int64_t grace_ms, const std::string& reason) {
  stop_reason_ = reason;
  set_deadline(now_ms + grace_ms);
}

void GangPart::end() {
  ending_ = true;
  processes_.kill_all(SIGKILL);
}

void GangPart::on_reaped(pid_t pid, int status) {
  if (pid != processes_.launcher()) return;
  orted_running_ = false;
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Reports a rank that cannot do it itself: only here can be seen that its exec-rank is gone.
void GangPart::report_vanished_rank() {
  const auto rank = processes_.vanished_rank(read_rank_files(exit_directory_));
  if (!rank) return;
  write_exit_report(exit_directory_,
                    {.rank = *rank, .host = host_, .signal = SIGKILL, .ended_at_ms = unix_ms()});
}

bool GangPart::advance_to(int64_t now_ms) {
  if (!ending_) {
    if (orted_running_) report_vanished_rank();
    if (stopping_) processes_.terminate_ranks();
    const bool over = !orted_running_ || (deadline_ms_ != 0 && now_ms >= deadline_ms_);
    if (!over) return false;
  }
  if (!processes_.alive().empty() || orted_running_) {
    end();
    return false;
  }
  last_output_ = last_lines(scratch_ / "orted.log", 5);
  std::error_code ignored;
  std::filesystem::remove_all(scratch_, ignored);
  return true;
}

}  // namespace tunefleet::agent

#include "worker/agent/exec_rank.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "worker/agent/process_tree.h"
#include "worker/agent/run_files.h"

namespace tunefleet::agent {
namespace {

constexpr int kCannotStart = 127;
constexpr int kParentDied = SIGHUP;  ///< What the kernel sends us when mpirun is gone.

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string environment(const char* name, const std::string& otherwise = "") {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return environment("TUNEFLEET_HOST", name.data());
}

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD, kParentDied}) sigaddset(&set, signal);
  return set;
}

/// One rank's command and what is to be told about it.
class WatchedRank {
 public:
  WatchedRank() : exit_directory_(environment("TUNEFLEET_EXIT_DIR")), signals_(watched_signals()) {
    report_.rank = std::atoi(environment("OMPI_COMM_WORLD_RANK", "0").c_str());
    report_.host = host_name();
  }

  bool start(const std::vector<std::string>& command);
  void wait();
  int finish();

 private:
  void use_own_scratch();
  [[noreturn]] void become(const std::vector<std::string>& command, pid_t parent);
  void kill_everything_below();
  /// Reaps what has ended; true when the command is among it.
  bool reap();

  std::filesystem::path exit_directory_;  ///< Empty: nothing is written.
  sigset_t signals_;
  pid_t child_ = -1;
  ExitReport report_;
};

/// Shared memory of the ranks of this host lies in its agent's directory. Only a rank can be told
/// so: to what stands above it, mpirun passes on its own host's.
void WatchedRank::use_own_scratch() {
  const std::string scratch = environment("TUNEFLEET_SCRATCH");
  if (!scratch.empty()) ::setenv("OMPI_MCA_btl_vader_backing_directory", scratch.c_str(), 1);
}

bool WatchedRank::start(const std::vector<std::string>& command) {
  sigprocmask(SIG_BLOCK, &signals_, nullptr);
  ::prctl(PR_SET_PDEATHSIG, kParentDied);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (!exit_directory_.empty()) {
    write_exec_rank(exit_directory_, report_.rank, {.pid = ::getpid(), .host = report_.host});
  }
  use_own_scratch();
  const pid_t self = ::getpid();
  child_ = ::fork();
  if (child_ == 0) become(command, self);
  report_.pid = child_;
  return child_ > 0;
}

void WatchedRank::become(const std::vector<std::string>& command, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kCannotStart);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  const std::string message =
      fmt::format("cannot start the program, check that it is installed: {} ({})", command[0],
                  std::strerror(errno));
  fmt::print(stderr, "{}\n", message);
  if (!exit_directory_.empty()) {
    write_rank_error(exit_directory_, report_.rank, {.code = "not_found", .message = message});
  }
  ::_exit(kCannotStart);
}

bool WatchedRank::reap() {
  bool ended = false;
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != child_) continue;
    ended = true;
    report_.ended_at_ms = unix_ms();
    if (WIFSIGNALED(status)) {
      report_.signal = WTERMSIG(status);
    } else {
      report_.exit_code = WEXITSTATUS(status);
    }
  }
  return ended;
}

void WatchedRank::kill_everything_below() {
  for (int round = 0; round < 50; ++round) {
    const auto left = descendants_of(::getpid());
    if (left.empty()) return;
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    const timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};
    ::sigtimedwait(&signals_, nullptr, &pause);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

void WatchedRank::wait() {
  while (!reap()) {
    const timespec limit{.tv_sec = 1, .tv_nsec = 0};
    const int signal = ::sigtimedwait(&signals_, nullptr, &limit);
    if (signal == SIGTERM || signal == SIGINT) {
      if (report_.terminated_at_ms == 0) report_.terminated_at_ms = unix_ms();
      ::kill(child_, signal);
    } else if (signal == kParentDied) {
      kill_everything_below();
      ::_exit(128 + kParentDied);  // Nobody is left to read a report in time.
    }
  }
}

int WatchedRank::finish() {
  if (!exit_directory_.empty()) {
    if (const auto written = write_exit_report(exit_directory_, report_); !written) {
      fmt::print(stderr, "{}\n", written.error().message);
    }
  }
  kill_everything_below();
  if (report_.signal == 0) return report_.exit_code;
  const rlimit no_core{};
  ::setrlimit(RLIMIT_CORE, &no_core);  // The command has left its own.
  ::signal(report_.signal, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, report_.signal);
  ::kill(::getpid(), report_.signal);
  sigprocmask(SIG_UNBLOCK, &one, nullptr);
  return 128 + report_.signal;
}

}  // namespace

int run_exec_rank(const std::vector<std::string>& command) {
  WatchedRank rank;
  if (!rank.start(command)) {
    fmt::print(stderr, "cannot start a process: {}\n", std::strerror(errno));
    return kCannotStart;
  }
  rank.wait();
  return rank.finish();
}

}  // namespace tunefleet::agent

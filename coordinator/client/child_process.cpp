#include "coordinator/client/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{10};
constexpr int64_t kTailBytes = 2'000;

/// In the child, between fork and exec: only calls that are safe there. Ends the child when it
/// returns.
void become(pid_t parent, char** arguments, int log, int failure_pipe) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(1);  // It died before the line above.
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // Sockets that httplib has accepted, for one.
  ::execvp(arguments[0], arguments);
  const int number = errno;
  [[maybe_unused]] const ssize_t told = ::write(failure_pipe, &number, sizeof(number));
  ::_exit(127);
}

std::string end_in_words(int status) {
  if (WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    return fmt::format("was killed by SIG{}", name == nullptr ? "?" : name);
  }
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

}  // namespace

ChildProcess::~ChildProcess() {
  if (running()) wait_or_kill(milliseconds(0));
}

Status ChildProcess::start() {
  const storage::FileDescriptor log(
      ::open(spec_.log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return storage::fail_os("cannot open the log", spec_.log, errno);
  log_begin_ = static_cast<int64_t>(::lseek(log.get(), 0, SEEK_END));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return storage::fail_os("cannot make a pipe", "", errno);
  const storage::FileDescriptor reading(ends[0]);
  storage::FileDescriptor writing(ends[1]);
  std::vector<char*> arguments;
  for (auto& word : spec_.arguments) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return storage::fail_os("cannot start a process", spec_.arguments[0], errno);
  if (child == 0) become(parent, arguments.data(), log.get(), writing.get());
  writing.reset();
  int number = 0;
  // The pipe closes by itself when the program runs.
  if (::read(reading.get(), &number, sizeof(number)) == sizeof(number)) {
    ::waitpid(child, nullptr, 0);
    return storage::fail_os("cannot run the program", spec_.arguments[0], number);
  }
  pid_ = child;
  return {};
}

std::optional<std::string> ChildProcess::poll_end() {
  if (!running()) return std::nullopt;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return end_in_words(status);
}

void ChildProcess::signal(int number) const {
  if (running()) ::kill(pid_, number);
}

void ChildProcess::wait_or_kill(milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (running() && !poll_end()) {
    if (std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(kLook);
      continue;
    }
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

std::string ChildProcess::log_tail() const {
  std::ifstream file(spec_.log, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const auto size = static_cast<int64_t>(file.tellg());
  file.seekg(std::max(log_begin_, size - kTailBytes));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace tunefleet::coordinator

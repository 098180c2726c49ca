#include "coordinator/serving/served_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <utility>

extern char** environ;

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{10};

/// posix_spawn's two lists, freed at the end.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  void set_streams(int in_and_out, int errors) {
    ::posix_spawn_file_actions_adddup2(&actions_, in_and_out, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, in_and_out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, errors, STDERR_FILENO);
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
  }
  /// A group of its own, no signal blocked, and SIGPIPE ends it as usual.
  void set_signals() {
    sigset_t none;
    sigset_t pipe;
    ::sigemptyset(&none);
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &pipe);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  /// 0, or an errno.
  int run(std::vector<std::string> words, pid_t& pid) const {
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    return ::posix_spawnp(&pid, arguments[0], &actions_, &attributes_, arguments.data(), environ);
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

bool wait_for(int fd, short events, milliseconds limit) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return ::poll(&entry, 1, static_cast<int>(limit.count())) > 0;
}

std::string end_in_words(int status) {
  if (WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    return fmt::format("was killed by SIG{}", name == nullptr ? "?" : name);
  }
  return fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

}  // namespace

Result<std::unique_ptr<ServedProcess>> ServedProcess::start(
    const std::vector<std::string>& arguments, const std::filesystem::path& log) {
  const storage::FileDescriptor errors(
      ::open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
  if (!errors.valid()) return storage::fail_os("cannot open the log", log, errno);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return storage::fail_os("cannot make a socket pair", "", errno);
  }
  storage::FileDescriptor ours(ends[0]);
  const storage::FileDescriptor theirs(ends[1]);
  SpawnPlan plan;
  plan.set_streams(theirs.get(), errors.get());
  plan.set_signals();
  pid_t pid = -1;
  if (const int failure = plan.run(arguments, pid); failure != 0) {
    return storage::fail_os("cannot run the program", arguments[0], failure);
  }
  return std::unique_ptr<ServedProcess>(new ServedProcess(pid, std::move(ours)));
}

ServedProcess::~ServedProcess() { wait_or_kill(milliseconds(0)); }

Status ServedProcess::write(std::string_view text, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (!text.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return storage::fail_os("the process takes no orders", "", errno);
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0 || !wait_for(socket_.get(), POLLOUT, left)) {
      return fail(ErrorCode::kTimeout,
                  fmt::format("the process does not read its orders: process {}", pid_));
    }
  }
  return {};
}

std::optional<std::string> ServedProcess::read(milliseconds limit) {
  if (!wait_for(socket_.get(), POLLIN, limit)) return std::string();
  std::array<char, 16 * 1024> buffer;
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got > 0) return std::string(buffer.data(), static_cast<size_t>(got));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::string();
  return std::nullopt;
}

void ServedProcess::close_input() { ::shutdown(socket_.get(), SHUT_WR); }

void ServedProcess::kill() {
  const std::lock_guard lock(mutex_);
  if (!reaped_) ::kill(-pid_, SIGKILL);
}

std::optional<int> ServedProcess::reap() {
  const std::lock_guard lock(mutex_);
  int status = 0;
  if (reaped_ || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  reaped_ = true;
  return status;
}

std::string ServedProcess::wait_or_kill(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (!reaped_) {
    if (const auto status = reap()) return end_in_words(*status);
    if (Clock::now() >= deadline) kill();
    std::this_thread::sleep_for(kLook);
  }
  return {};
}

}  // namespace tunefleet::coordinator

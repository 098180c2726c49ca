#include "coordinator/client/up_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include "coordinator/api/private_directory.h"
#include "coordinator/client/command.h"
#include "coordinator/client/data_lock.h"
#include "coordinator/client/rate_options.h"
#include "coordinator/client/serving_options.h"
#include "coordinator/client/stop_signal.h"
#include "coordinator/client/supervisor.h"
#include "coordinator/client/webhook_options.h"
#include "proto/log.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDetachLimit{60'000};
constexpr milliseconds kDownLimit{40'000};
constexpr milliseconds kLook{50};

int failed(const Error& error) {
  fmt::print(stderr, "error: {}\n", error.message);
  return kExitFailed;
}

/// Starts the service, hands `tell` the summary or the error, and runs until it is asked to stop.
int serve(const UpOptions& options,
          const std::function<void(bool good, const std::string&)>& tell) {
  log::configure("up");
  block_signals();
  auto supervisor = Supervisor::start(options);
  if (!supervisor) {
    tell(false, fmt::format("error: {}\n", supervisor.error().message));
    return kExitFailed;
  }
  tell(true, (*supervisor)->summary());
  (*supervisor)->run();
  log::info("stopping");
  (*supervisor)->stop();
  log::info("stopped");
  return kExitOk;
}

void tell_terminal(bool good, const std::string& text) {
  fmt::print(good ? stdout : stderr, "{}", text);
  std::fflush(stdout);
}

/// In the background process: a session of its own, output to the log, news to the waiting parent.
int serve_detached(const UpOptions& options, storage::FileDescriptor news) {
  ::setsid();
  const auto path = options.coordinator.data / "up.log";
  const storage::FileDescriptor log(
      ::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
  const storage::FileDescriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::dup2(nothing.get(), STDIN_FILENO);
  ::dup2(log.get(), STDOUT_FILENO);
  ::dup2(log.get(), STDERR_FILENO);
  return serve(options, [&news](bool good, const std::string& text) {
    const std::string line = (good ? '+' : '-') + text;
    tell_terminal(good, text);
    [[maybe_unused]] const ssize_t told = ::write(news.get(), line.data(), line.size());
    news.reset();
  });
}

/// What the background process told before it closed the pipe; empty when it told nothing in time.
std::string read_news(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  const auto deadline = std::chrono::steady_clock::now() + kDetachLimit;
  while (std::chrono::steady_clock::now() < deadline) {
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, static_cast<int>(kLook.count())) <= 0) continue;
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  return text;
}

int detach(const UpOptions& options) {
  if (const auto made = make_private_directory(options.coordinator.data); !made) {
    return failed(made.error());
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return failed({ErrorCode::kInternal, "cannot make a pipe"});
  const storage::FileDescriptor reading(ends[0]);
  storage::FileDescriptor writing(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return failed({ErrorCode::kInternal, "cannot start a process"});
  if (child == 0) ::_exit(serve_detached(options, std::move(writing)));
  writing.reset();
  const std::string news = read_news(reading.get());
  if (news.starts_with('+')) {
    fmt::print("{}Log                 {}\n", news.substr(1),
               (options.coordinator.data / "up.log").string());
    return kExitOk;
  }
  fmt::print(stderr, "{}",
             news.empty() ? fmt::format("error: the service did not start; its log: {}\n",
                                        (options.coordinator.data / "up.log").string())
                          : news.substr(1));
  if (news.empty()) ::kill(child, SIGTERM);
  return kExitFailed;
}

}  // namespace

int run_up(int argc, char** argv) {
  UpOptions options;
  bool in_background = false;
  options.coordinator.data = ".tunefleet";
  CLI::App app("Start the whole service on this machine", argv[0]);
  app.add_option("--data", options.coordinator.data, "Data directory")->capture_default_str();
  app.add_option("--models", options.coordinator.models,
                 "Base models, one folder each; default DATA/models");
  app.add_option("--host", options.coordinator.host, "Address the API listens on")
      ->capture_default_str();
  app.add_option("--port", options.coordinator.port, "Port of the API; 0: a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--slots", options.slots, "Ranks that may run at the same time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--redis", options.coordinator.redis,
                 "Use this Redis (unix:///path or redis://host:port/db) instead of a private one");
  add_rate_options(app, options.coordinator.limits);
  add_tenant_option(app, options.coordinator.tenants);
  add_serving_options(app, options.coordinator.serving);
  app.add_flag("--detach", in_background,
               "Return when the service runs; stop it with `tunefleet down`");
  add_webhook_options(app, options.coordinator.webhook_policy);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  options.coordinator.data = std::filesystem::absolute(options.coordinator.data).lexically_normal();
  return in_background ? detach(options) : serve(options, tell_terminal);
}

int run_down(int argc, char** argv) {
  std::filesystem::path data = ".tunefleet";
  CLI::App app("Stop the service of a data directory", argv[0]);
  app.add_option("--data", data, "Data directory")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  const pid_t holder = DataLock::holder(data);
  if (holder <= 0) {
    fmt::print("no service runs on {}\n", data.string());
    return kExitOk;
  }
  ::kill(holder, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + kDownLimit;
  while (DataLock::holder(data) == holder) {
    if (std::chrono::steady_clock::now() > deadline) {
      return failed({ErrorCode::kTimeout,
                     fmt::format("the service has not stopped yet: process {}", holder)});
    }
    std::this_thread::sleep_for(kLook);
  }
  fmt::print("stopped\n");
  return kExitOk;
}

}  // namespace tunefleet::coordinator

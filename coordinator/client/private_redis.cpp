#include "coordinator/client/private_redis.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include "coordinator/api/private_directory.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStartLimit{10'000};
constexpr milliseconds kLook{10};
constexpr int kReplyLimit_ms = 500;

ChildSpec redis_spec(const std::filesystem::path& directory) {
  // It goes into its directory first, so that the socket's name is short however deep the directory
  // is.
  return {.name = "redis-server",
          .arguments = {"redis-server",
                        "--port",
                        "0",
                        "--unixsocket",
                        "redis.sock",
                        "--unixsocketperm",
                        "700",
                        "--dir",
                        directory.string(),
                        "--appendonly",
                        "yes",
                        "--appendfsync",
                        "always",
                        "--save",
                        "",
                        "--maxmemory-policy",
                        "noeviction",
                        "--daemonize",
                        "no",
                        "--logfile",
                        ""},
          .log = directory / "redis.log"};
}

/// A connected socket; invalid when nobody listens there.
storage::FileDescriptor connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return {};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  storage::FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return {};
  return socket;
}

}  // namespace

PrivateRedis::PrivateRedis(std::filesystem::path directory, storage::FileDescriptor held)
    : directory_(std::move(directory)),
      held_(std::move(held)),
      socket_((directory_ / "redis.sock").string()),
      process_(redis_spec(directory_)) {
  if (socket_.size() >= sizeof(sockaddr_un::sun_path)) {
    socket_ = fmt::format("/proc/self/fd/{}/redis.sock", held_.get());
  }
  url_ = "unix://" + socket_;
}

Result<std::unique_ptr<PrivateRedis>> PrivateRedis::create(
    const std::filesystem::path& data_directory) {
  if (!is_in_path("redis-server")) {
    return fail(
        ErrorCode::kNotFound,
        "redis-server is not installed: apt-get install redis-server, or name a running one "
        "with --redis redis://host:port");
  }
  const auto directory = std::filesystem::absolute(data_directory) / "redis";
  if (const auto made = make_private_directory(directory); !made) return fail(made.error());
  storage::FileDescriptor held(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!held.valid()) return storage::fail_os("cannot open the directory", directory, errno);
  return std::unique_ptr<PrivateRedis>(new PrivateRedis(directory, std::move(held)));
}

Status PrivateRedis::start() {
  if (const auto free = wait_for_predecessor(); !free) return free;
  if (const auto started = process_.start(); !started) return started;
  const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
  while (!answers()) {
    if (const auto end = process_.poll_end()) {
      return fail(ErrorCode::kInternal,
                  fmt::format("redis-server {}; its log ends:\n{}", *end, process_.log_tail()));
    }
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(
          ErrorCode::kTimeout,
          fmt::format("redis-server does not answer; its log ends:\n{}", process_.log_tail()));
    }
    std::this_thread::sleep_for(kLook);
  }
  return {};
}

/// After a service was killed, its Redis may still be writing its last: two on one file would spoil
/// it.
Status PrivateRedis::wait_for_predecessor() const {
  const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
  while (connect_to(socket_).valid()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(ErrorCode::kConflict,
                  fmt::format("a redis-server from before still runs there, stop it: {}",
                              (directory_ / "redis.sock").string()));
    }
    std::this_thread::sleep_for(kLook);
  }
  return {};
}

bool PrivateRedis::answers() const {
  const auto socket = connect_to(socket_);
  if (!socket.valid()) return false;
  constexpr std::string_view kQuestion = "PING\r\n";
  if (::send(socket.get(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) < 0) return false;
  pollfd entry{.fd = socket.get(), .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, kReplyLimit_ms) <= 0) return false;
  std::array<char, 64> reply{};
  const ssize_t n = ::recv(socket.get(), reply.data(), reply.size(), 0);
  return n > 0 && std::string_view(reply.data(), static_cast<size_t>(n)).starts_with("+PONG");
}

}  // namespace tunefleet::coordinator

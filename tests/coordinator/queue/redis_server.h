#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

namespace tunefleet::coordinator {

/// A redis-server of its own for a test: on a Unix socket in a new directory, with an append-only
/// file there, so that a stopped server comes back with what it had. Everything is removed at the
/// end.
class RedisServer {
 public:
  RedisServer();
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  std::string url() const { return "unix://" + socket_.string(); }
  /// Starts the process and waits until it answers; throws std::runtime_error after ten seconds.
  void start();
  /// Kills it with SIGKILL, as a crash would.
  void kill();
  /// Lets it hang (true) and go on (false).
  void freeze(bool frozen);

 private:
  std::filesystem::path directory_;
  std::filesystem::path socket_;
  pid_t pid_ = -1;
};

}  // namespace tunefleet::coordinator

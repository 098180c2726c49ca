#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "coordinator/client/child_process.h"
#include "proto/result.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {

/// The Redis of one data directory: redis-server on a Unix socket in <data>/redis, with an
/// append-only file that is synced at each write. Nobody else can reach it: no port, directory and
/// socket for our user alone.
class PrivateRedis {
 public:
  /// kNotFound, naming the package, when redis-server is not installed.
  static Result<std::unique_ptr<PrivateRedis>> create(const std::filesystem::path& data_directory);

  /// Starts it and waits until it answers: kTimeout after ten seconds, kInternal with the end of
  /// its log when it dies.
  Status start();
  ChildProcess& process() { return process_; }
  /// unix://…/redis.sock, for this process only when the directory's name is too long for a socket
  /// address.
  const std::string& url() const { return url_; }

 private:
  PrivateRedis(std::filesystem::path directory, storage::FileDescriptor held);
  Status wait_for_predecessor() const;
  bool answers() const;

  std::filesystem::path directory_;
  storage::FileDescriptor held_;  ///< The directory, as a short way to it.
  std::string socket_;
  std::string url_;
  ChildProcess process_;
};

}  // namespace tunefleet::coordinator

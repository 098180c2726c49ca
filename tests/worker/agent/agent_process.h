#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "proto/wire.pb.h"

namespace tunefleet::agent {

/// A directory of its own for a test, removed at the end.
class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  /// Writes an executable shell script; its arguments are the trainer's.
  std::filesystem::path script(const std::string& name, const std::string& body) const;

 private:
  std::filesystem::path path_;
};

/// The real tunefleet-agent as a process of its own.
class AgentProcess {
 public:
  /// `arguments` follow `tunefleet-agent run`.
  explicit AgentProcess(const std::vector<std::string>& arguments);
  ~AgentProcess();
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// Waits for its end; its wait status, or nothing when it has not ended by then.
  std::optional<int> wait(std::chrono::milliseconds limit);

 private:
  pid_t pid_ = -1;
};

/// A coordinator's secret, and what its nodes' key file holds.
struct TestKeys {
  std::string server_secret;
  std::string server_public;
  std::string node_public;
  std::string node_secret;
};
TestKeys make_test_keys();
/// As an agent wants it, mode 0600.
void write_key_file(const std::filesystem::path& file, const TestKeys& keys);
/// A bound ROUTER with CURVE; any client key is let in. Waits while an older socket still holds the
/// address.
zmq::socket_t bind_router(zmq::context_t& context, const std::string& endpoint,
                          const std::string& server_secret);

/// A coordinator's ROUTER with CURVE, which answers only what the test tells it to. Any client key
/// is let in.
class FakeCoordinator {
 public:
  /// Writes the node's keys to `key_file`.
  explicit FakeCoordinator(const std::filesystem::path& key_file);

  const std::string& endpoint() const { return endpoint_; }
  /// Closes the socket, as a coordinator that went away; open() comes back at the same address.
  void close();
  void open();

  /// Reads messages until one fits; nothing when none does in time. The peer that sent it gets
  /// later send()s.
  std::optional<wire::Envelope> wait_for(const std::function<bool(const wire::Envelope&)>& fits,
                                         std::chrono::milliseconds limit);
  std::optional<wire::GangEnded> wait_for_end(std::chrono::milliseconds limit, bool acknowledge);
  void send(wire::Envelope envelope);

 private:
  TestKeys keys_;
  std::string endpoint_;
  zmq::context_t context_{1};
  std::optional<zmq::socket_t> router_;
  std::string peer_;
  uint64_t sequence_ = 0;
};

/// Processes (of any parent) that were started with `variable` in their environment.
std::vector<pid_t> processes_with(const std::string& variable);
/// Polls `condition` until it holds or `limit` is over; whether it held.
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit);

}  // namespace tunefleet::agent

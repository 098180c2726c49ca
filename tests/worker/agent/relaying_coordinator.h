#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "coordinator/fleet/exec_relay.h"
#include "proto/wire.pb.h"
#include "tests/worker/agent/agent_process.h"

namespace tunefleet::agent {

/// A coordinator of several agents: remembers what they say, passes on what exec-ons ask, sends
/// what the test says, and decides nothing. GangEnded is acknowledged. Has a thread of its own.
class RelayingCoordinator {
 public:
  /// `endpoint` may be one with a free port ("tcp://127.0.0.1:*").
  explicit RelayingCoordinator(TestKeys keys, std::string endpoint = "tcp://127.0.0.1:*");
  ~RelayingCoordinator();
  RelayingCoordinator(const RelayingCoordinator&) = delete;
  RelayingCoordinator& operator=(const RelayingCoordinator&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  /// Goes away, forgetting all, and comes back at the same address.
  void close();
  void open();

  /// To the agent of that name, once it has sent a beat.
  void send(const std::string& host, wire::Envelope envelope);

  /// The newest beat that fits; nothing when none comes in time.
  std::optional<wire::AgentBeat> wait_for_beat(
      const std::string& host, const std::function<bool(const wire::AgentBeat&)>& fits,
      std::chrono::milliseconds limit);
  std::optional<wire::GangEnded> wait_for_end(std::chrono::milliseconds limit);
  /// Any other message, taken out.
  std::optional<wire::Envelope> wait_for(const std::function<bool(const wire::Envelope&)>& fits,
                                         std::chrono::milliseconds limit);
  size_t ends_heard();

 private:
  void run();
  void receive_all();
  void take(const std::string& peer, const wire::Envelope& envelope);
  void deliver(const std::string& peer, wire::Envelope envelope);

  TestKeys keys_;
  std::string endpoint_;
  zmq::context_t context_{1};
  zmq::socket_t router_;  ///< Used by thread_ alone while that runs.
  coordinator::ExecRelay relay_;
  std::mutex mutex_;
  std::map<std::string, std::string> peers_;                        ///< Guarded by mutex_.
  std::map<std::string, wire::AgentBeat> beats_;                    ///< Guarded by mutex_.
  std::deque<wire::GangEnded> ends_;                                ///< Guarded by mutex_.
  std::deque<wire::Envelope> others_;                               ///< Guarded by mutex_.
  std::vector<std::pair<std::string, wire::Envelope>> to_be_sent_;  ///< Guarded by mutex_.
  uint64_t sequence_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace tunefleet::agent

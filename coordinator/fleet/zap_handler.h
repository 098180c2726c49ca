#pragma once

#include <filesystem>
#include <thread>
#include <zmq.hpp>

namespace tunefleet::coordinator {

/// Answers ZeroMQ's question who may connect (ZAP, RFC 27): a CURVE client whose public key stands
/// in the allow-list of `keys_directory` may, everyone else gets 400. Bind before the sockets it
/// guards: without a handler libzmq lets every CURVE client in.
///
/// Owns one thread, apart from the fleet's, so that a handshake never waits for the store.
class ZapHandler {
 public:
  /// Throws zmq::error_t when the context has a handler already.
  ZapHandler(zmq::context_t& context, std::filesystem::path keys_directory);
  ~ZapHandler();
  ZapHandler(const ZapHandler&) = delete;
  ZapHandler& operator=(const ZapHandler&) = delete;

 private:
  void run();
  void answer_one();

  std::filesystem::path keys_directory_;
  zmq::socket_t requests_;  ///< Used by thread_ alone once that runs.
  int stop_ = -1;           ///< eventfd.
  std::thread thread_;
};

}  // namespace tunefleet::coordinator

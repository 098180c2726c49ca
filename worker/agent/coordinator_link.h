#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <zmq.hpp>

#include "proto/endpoint_rotation.h"
#include "proto/result.h"
#include "proto/wire.pb.h"
#include "proto/wire_version.h"

namespace tunefleet::agent {

/// The keys of this node: a JSON file {"server_public", "public", "secret"} in Z85, mode 0600.
struct NodeKeys {
  std::string server_public{};
  std::string public_key{};
  std::string secret_key{};
};
/// kPermissionDenied when others can read it, kInvalidArgument when it is not such a file; both
/// name it.
Result<NodeKeys> read_node_keys(const std::filesystem::path& file);

/// A line to the coordinator: one DEALER with CURVE that reconnects by itself, after 1 s, then 2 s
/// … 32 s, and with several addresses goes from one to the next. While there is no connection
/// nothing is queued: what is sent is lost, and the sender sends what matters again. Used by one
/// thread.
class CoordinatorLink {
 public:
  /// Throws zmq::error_t for an address that is none.
  CoordinatorLink(const std::string& endpoints, NodeKeys keys);

  /// Sends with the next sequence number, which is returned; 0 when there is no connection. May
  /// turn to the next address, so call it at least each second.
  uint64_t send(wire::Envelope envelope);
  /// The next message that has arrived, if any. What cannot be parsed is skipped.
  std::optional<wire::Envelope> receive();

  /// The address in use.
  const std::string& endpoint() const { return rotation_.current(); }
  /// For zmq::poll; not to be kept across a send().
  void* poll_handle() { return socket_.handle(); }

 private:
  void connect(const std::string& endpoint);

  NodeKeys keys_;
  EndpointRotation rotation_;
  zmq::context_t context_{1};
  zmq::socket_t socket_;
  uint64_t sequence_ = 0;
};

}  // namespace tunefleet::agent

#include "worker/agent/coordinator_link.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "worker/agent/run_files.h"

namespace tunefleet::agent {
namespace {

constexpr int kReconnectMs = 1'000;
constexpr int kReconnectMaxMs = 32'000;
constexpr int kLingerMs = 500;  ///< For the last words of a program that ends.
constexpr int kHeartbeatMs =
    2'000;  ///< ZeroMQ's own: finds connections that are dead without a FIN.
constexpr int kHeartbeatTimeoutMs = 6'000;
constexpr int64_t kMaxMessageBytes = 4 << 20;
constexpr size_t kZ85Size = 40;

int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Result<NodeKeys> read_node_keys(const std::filesystem::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("no key file, take keys/node.json of the coordinator's data directory: {}",
                    file.string()));
  }
  if ((info.st_mode & 077U) != 0) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("key file can be read by others, chmod 600 it: {}", file.string()));
  }
  const auto object = nlohmann::json::parse(file_text(file), nullptr, false);
  for (const char* key : {"server_public", "public", "secret"}) {
    if (!object.is_object() || !object.contains(key) || !object[key].is_string() ||
        object[key].get_ref<const std::string&>().size() != kZ85Size) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("not a key file, {} is missing or not a Z85 key: {}", key, file.string()));
    }
  }
  return NodeKeys{.server_public = object["server_public"],
                  .public_key = object["public"],
                  .secret_key = object["secret"]};
}

CoordinatorLink::CoordinatorLink(const std::string& endpoints, NodeKeys keys)
    : keys_(std::move(keys)), rotation_(endpoints) {
  // Backwards, to the first: a bad address is told at once, not when it is needed.
  for (size_t i = rotation_.all().size(); i > 0; --i) connect(rotation_.all()[i - 1]);
}

void CoordinatorLink::connect(const std::string& endpoint) {
  socket_ = zmq::socket_t(context_, zmq::socket_type::dealer);
  socket_.set(zmq::sockopt::linger, kLingerMs);
  socket_.set(zmq::sockopt::immediate, true);
  socket_.set(zmq::sockopt::reconnect_ivl, kReconnectMs);
  socket_.set(zmq::sockopt::reconnect_ivl_max, kReconnectMaxMs);
  socket_.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMs);
  socket_.set(zmq::sockopt::heartbeat_timeout, kHeartbeatTimeoutMs);
  socket_.set(zmq::sockopt::maxmsgsize, kMaxMessageBytes);
  socket_.set(zmq::sockopt::curve_serverkey, keys_.server_public);
  socket_.set(zmq::sockopt::curve_publickey, keys_.public_key);
  socket_.set(zmq::sockopt::curve_secretkey, keys_.secret_key);
  socket_.connect(endpoint);
}

uint64_t CoordinatorLink::send(wire::Envelope envelope) {
  envelope.set_version(kWireVersion);
  envelope.set_sequence(++sequence_);
  const auto sent =
      socket_.send(zmq::buffer(envelope.SerializeAsString()), zmq::send_flags::dontwait);
  if (rotation_.moves_on(sent.has_value(), steady_ms())) connect(rotation_.current());
  return sent ? sequence_ : 0;
}

std::optional<wire::Envelope> CoordinatorLink::receive() {
  zmq::message_t message;
  while (socket_.recv(message, zmq::recv_flags::dontwait)) {
    wire::Envelope envelope;
    if (envelope.ParseFromArray(message.data(), static_cast<int>(message.size()))) return envelope;
  }
  return std::nullopt;
}

}  // namespace tunefleet::agent

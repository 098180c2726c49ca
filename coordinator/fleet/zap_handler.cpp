#include "coordinator/fleet/zap_handler.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/fleet/curve_keys.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

constexpr char kZapEndpoint[] = "inproc://zeromq.zap.01";
constexpr size_t kCurveKeyBytes = 32;

/// Frames of a ZAP request: version, request id, domain, address, identity, mechanism, credentials.
enum Frame {
  kVersion,
  kRequestId,
  kDomain,
  kAddress,
  kIdentity,
  kMechanism,
  kCredentials,
  kFrames
};

std::string z85(const std::string& key) {
  std::array<char, 41> text{};
  zmq_z85_encode(text.data(), reinterpret_cast<const uint8_t*>(key.data()), key.size());
  return text.data();
}

}  // namespace

ZapHandler::ZapHandler(zmq::context_t& context, std::filesystem::path keys_directory)
    : keys_directory_(std::move(keys_directory)),
      requests_(context, zmq::socket_type::rep),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  requests_.set(zmq::sockopt::linger, 0);
  requests_.bind(kZapEndpoint);
  thread_ = std::thread([this] { run(); });
}

ZapHandler::~ZapHandler() {
  ::eventfd_write(stop_, 1);
  thread_.join();
  ::close(stop_);
}

void ZapHandler::run() {
  sigset_t all;  // Signals are for the main thread; here they would only interrupt the poll.
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::array<zmq::pollitem_t, 2> items{zmq::pollitem_t{requests_.handle(), 0, ZMQ_POLLIN, 0},
                                       zmq::pollitem_t{nullptr, stop_, ZMQ_POLLIN, 0}};
  while (true) {
    zmq::poll(items.data(), items.size(), std::chrono::milliseconds(1000));
    if ((items[1].revents & ZMQ_POLLIN) != 0) return;
    if ((items[0].revents & ZMQ_POLLIN) != 0) answer_one();
  }
}

void ZapHandler::answer_one() {
  std::vector<std::string> frames;
  zmq::message_t part;
  do {
    if (!requests_.recv(part)) return;
    frames.push_back(part.to_string());
  } while (part.more());
  frames.resize(kFrames);
  const bool curve = frames[kVersion] == "1.0" && frames[kMechanism] == "CURVE" &&
                     frames[kCredentials].size() == kCurveKeyBytes;
  const std::string key = curve ? z85(frames[kCredentials]) : std::string();
  const bool allowed = curve && allowed_keys(keys_directory_).contains(key);
  if (!allowed) {
    log::warning(fmt::format("refused a connection, its key is not in {}/allowed: {} from {}",
                             keys_directory_.string(), key, frames[kAddress]));
  }
  const std::array<std::string, 6> reply{
      "1.0", frames[kRequestId], allowed ? "200" : "400", allowed ? "OK" : "key not allowed", key,
      ""};
  for (size_t i = 0; i < reply.size(); ++i) {
    requests_.send(zmq::buffer(reply[i]),
                   i + 1 < reply.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
}

}  // namespace tunefleet::coordinator

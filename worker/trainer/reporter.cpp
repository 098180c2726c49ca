#include "worker/trainer/reporter.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <zmq.hpp>

#include "proto/endpoint_rotation.h"
#include "proto/log.h"
#include "proto/wire.pb.h"
#include "proto/wire_version.h"

namespace tunefleet::trainer {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kBeatInterval = 1s;
constexpr auto kResendInterval = 2s;
constexpr int kHeartbeatMs = 2'000;  ///< ZeroMQ's own: finds a host that is gone without a FIN.
constexpr int kHeartbeatTimeoutMs = 6'000;
constexpr int64_t kPatienceMs = 2'000;  ///< With one coordinator, before the next one is tried.
constexpr size_t kMaxUnacknowledged =
    10000;  ///< Older lines are let go of: they stand in logging.jsonl too.

struct Settings {
  std::string endpoints, server_public, public_key, secret_key, job;
  uint64_t attempt = 0;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  const std::atomic<uint64_t>* collectives = nullptr;  ///< Null: not counted.
};

class SilentReporter : public Reporter {
 public:
  void update(const RankStatus&) override {}
  void tell(const RankMessage&) override {}
  void finish(std::chrono::milliseconds) override {}
};

int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident = 0;
  in >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// The agent's name for this host, where one started this rank.
std::string host_name() {
  if (const char* name = std::getenv("TUNEFLEET_HOST"); name != nullptr && *name != '\0')
    return name;
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

class ZmqReporter : public Reporter {
 public:
  explicit ZmqReporter(Settings settings)
      : settings_(std::move(settings)), thread_([this] { run(); }) {}

  ~ZmqReporter() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void update(const RankStatus& status) override {
    const std::lock_guard lock(mutex_);
    status_ = status;
  }

  void tell(const RankMessage& message) override {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxUnacknowledged) waiting_.pop_front();
    waiting_.push_back({++told_,
                        message,
                        std::chrono::duration_cast<std::chrono::milliseconds>(
                            std::chrono::system_clock::now().time_since_epoch())
                            .count(),
                        0,
                        {}});
  }

  void finish(std::chrono::milliseconds limit) override {
    std::unique_lock lock(mutex_);
    status_.phase = "finished";
    beat_now_ = true;
    changed_.wait_for(lock, limit, [this] { return waiting_.empty() && !beat_now_; });
  }

 private:
  struct Waiting {
    uint64_t number;
    RankMessage message;
    int64_t created_at_ms;
    uint64_t sequence;  ///< Of the envelope it was last sent in; 0: not sent yet.
    Clock::time_point sent;
  };

  void run() {
    zmq::context_t context(1);
    zmq::socket_t socket = connected_socket(context);
    auto next_beat = Clock::now();
    while (true) {
      bool connected = true;
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) return;
        if (beat_now_ || Clock::now() >= next_beat) {
          connected = send_beat(socket);
          if (connected) {
            next_beat = Clock::now() + kBeatInterval;
            beat_now_ = false;
          }
        }
        if (connected) send_waiting(socket);
      }
      changed_.notify_all();
      const auto now =
          std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch());
      if (rotation_.moves_on(connected, now.count())) socket = connected_socket(context);
      receive(socket, 50ms);
    }
  }

  zmq::socket_t connected_socket(zmq::context_t& context) const {
    zmq::socket_t socket(context, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::immediate, true);
    socket.set(zmq::sockopt::reconnect_ivl, 200);
    socket.set(zmq::sockopt::reconnect_ivl_max, 5000);
    socket.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMs);
    socket.set(zmq::sockopt::heartbeat_timeout, kHeartbeatTimeoutMs);
    socket.set(zmq::sockopt::curve_serverkey, settings_.server_public);
    socket.set(zmq::sockopt::curve_publickey, settings_.public_key);
    socket.set(zmq::sockopt::curve_secretkey, settings_.secret_key);
    socket.connect(rotation_.current());
    return socket;
  }

  /// False without a connection: nothing is kept for one.
  bool send(zmq::socket_t& socket, wire::Envelope& envelope) {
    envelope.set_version(kWireVersion);
    envelope.set_sequence(++sequence_);
    const auto bytes = envelope.SerializeAsString();
    return socket.send(zmq::buffer(bytes), zmq::send_flags::dontwait).has_value();
  }

  bool send_beat(zmq::socket_t& socket) {
    wire::Envelope envelope;
    auto& beat = *envelope.mutable_rank_beat();
    beat.set_job(settings_.job);
    beat.set_attempt(settings_.attempt);
    beat.set_rank(settings_.rank);
    beat.set_world_size(settings_.world_size);
    beat.set_host(host_);
    beat.set_pid(static_cast<uint64_t>(getpid()));
    beat.set_phase(status_.phase);
    beat.set_step(static_cast<uint64_t>(status_.step));
    beat.set_max_steps(static_cast<uint64_t>(status_.max_steps));
    beat.set_loss(status_.loss);
    beat.set_learning_rate(status_.learning_rate);
    beat.set_tokens_per_s(status_.tokens_per_s);
    beat.set_remaining_s(status_.remaining_s);
    beat.set_resident_bytes(static_cast<uint64_t>(resident_bytes()));
    beat.set_device_bytes(static_cast<uint64_t>(status_.device_bytes));
    if (settings_.collectives != nullptr) beat.set_collectives(settings_.collectives->load());
    return send(socket, envelope);
  }

  void send_waiting(zmq::socket_t& socket) {
    const auto now = Clock::now();
    for (auto& entry : waiting_) {
      if (entry.sequence != 0 && now - entry.sent < kResendInterval) continue;
      wire::Envelope envelope;
      auto& event = *envelope.mutable_rank_event();
      event.set_job(settings_.job);
      event.set_attempt(settings_.attempt);
      event.set_number(entry.number);
      event.set_level(entry.message.level);
      event.set_type(entry.message.type);
      event.set_message(entry.message.message);
      event.set_data_json(entry.message.data_json);
      event.set_created_at_ms(entry.created_at_ms);
      if (!send(socket, envelope)) return;
      entry.sequence = sequence_;
      entry.sent = now;
    }
  }

  /// Takes acknowledgements in until there are none for `limit`.
  void receive(zmq::socket_t& socket, std::chrono::milliseconds limit) {
    zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
    zmq::poll(&item, 1, limit);
    zmq::message_t message;
    while (socket.recv(message, zmq::recv_flags::dontwait)) {
      wire::Envelope envelope;
      if (!envelope.ParseFromArray(message.data(), static_cast<int>(message.size()))) continue;
      if (envelope.has_rejected())
        log::warning("the coordinator rejected a report: " + envelope.rejected().message());
      if (!envelope.has_ack()) continue;
      const std::lock_guard lock(mutex_);
      std::erase_if(waiting_,
                    [&](const Waiting& w) { return w.sequence == envelope.ack().sequence(); });
    }
  }

  Settings settings_;
  EndpointRotation rotation_{settings_.endpoints, kPatienceMs};  ///< Used by thread_ alone.
  std::string host_ = host_name();
  std::mutex mutex_;
  std::condition_variable changed_;
  RankStatus status_;
  std::deque<Waiting> waiting_;
  uint64_t told_ = 0;
  uint64_t sequence_ = 0;
  bool beat_now_ = false;
  bool stopping_ = false;
  std::thread thread_;  ///< Last: it uses all of the above.
};

Result<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("TUNEFLEET_RANK_ENDPOINT is set but {} is not", name));
  }
  return std::string(value);
}

Status read_keys(const std::string& path, Settings& settings) {
  std::ifstream in(path);
  const auto keys = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  for (const auto& [name, to] :
       {std::pair{"server_public", &settings.server_public},
        std::pair{"public", &settings.public_key}, std::pair{"secret", &settings.secret_key}}) {
    const auto it = keys.is_object() ? keys.find(name) : keys.end();
    if (!keys.is_object() || it == keys.end() || !it->is_string() ||
        it->get<std::string>().size() != 40) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("not a CURVE key file: {}, key {}", path, name));
    }
    *to = it->get<std::string>();
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Reporter>> make_reporter(int rank, int world_size,
                                                const std::atomic<uint64_t>* collectives) {
  const char* endpoint = std::getenv("TUNEFLEET_RANK_ENDPOINT");
  if (endpoint == nullptr || *endpoint == '\0') return std::make_unique<SilentReporter>();
  Settings settings;
  settings.endpoints = endpoint;
  settings.rank = static_cast<uint32_t>(rank);
  settings.world_size = static_cast<uint32_t>(world_size);
  settings.collectives = collectives;
  const auto job = variable("TUNEFLEET_JOB");
  const auto attempt = variable("TUNEFLEET_ATTEMPT");
  const auto keys = variable("TUNEFLEET_CURVE");
  for (const auto* value : {&job, &attempt, &keys}) {
    if (!*value) return fail(value->error());
  }
  settings.job = *job;
  settings.attempt = std::strtoull(attempt->c_str(), nullptr, 10);
  if (auto status = read_keys(*keys, settings); !status) return fail(status.error());
  return std::make_unique<ZmqReporter>(std::move(settings));
}

}  // namespace tunefleet::trainer

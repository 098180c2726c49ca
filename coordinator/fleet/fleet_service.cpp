#include "coordinator/fleet/fleet_service.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <zmq.hpp>

#include "coordinator/fleet/curve_keys.h"
#include "coordinator/fleet/fleet_reconciler.h"
#include "coordinator/fleet/leader_lease.h"
#include "coordinator/fleet/zap_handler.h"
#include "coordinator/launch/run_directory.h"
#include "proto/log.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kMaxMessageBytes = 4 << 20;
constexpr int kHandshakeMs = 5'000;
constexpr int kHeartbeatMs =
    2'000;  ///< ZeroMQ's own: finds connections that are dead without a FIN.
constexpr int kHeartbeatTimeoutMs = 8'000;
constexpr auto kTick = 1s;
/// After a tick that the queue asked for, so many times as long nothing but messages is looked at:
/// a long queue that changes all the time leaves Redis and the processor to others.
constexpr int kLookPause = 4;
constexpr auto kStandByMs = 500ms;
constexpr int kMessagesPerTurn = 1'000;  ///< Then the tick gets its chance.

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch())
      .count();
}

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// An address that only this machine's agents can use says nothing to others: they report where
/// their agent does.
std::string rank_endpoint_of(const std::string& bound) {
  return bound.starts_with("tcp://0.0.0.0:") || bound.starts_with("tcp://[::]:") ? "" : bound;
}

class FleetServiceThread : public FleetService {
 public:
  /// Throws zmq::error_t when it leads and cannot bind.
  FleetServiceThread(const FleetOptions& options, JobStore& store, CurveKeyPair keys)
      : options_(options),
        store_(store),
        keys_(std::move(keys)),
        zap_(context_, options.keys_directory),
        lease_(store, options.place),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (lease_.keep(now_ms())) begin_to_lead();
    thread_ = std::thread([this] { run(); });
  }

  ~FleetServiceThread() override {
    stopping_ = true;
    wake();
    thread_.join();
    ::close(wake_);
  }

  std::string endpoint() const override {
    const std::lock_guard lock(mutex_);
    return endpoint_;
  }
  void wake() override { ::eventfd_write(wake_, 1); }

  std::vector<AgentView> agents() const override {
    const std::lock_guard lock(mutex_);
    return agents_;
  }
  QueuePosition position(const std::string& job) const override {
    const std::lock_guard lock(mutex_);
    const auto found = positions_->find(job);
    return found == positions_->end() ? QueuePosition{} : found->second;
  }
  StartPreview preview(const WaitingJob& job) const override {
    std::shared_ptr<const PlanInput> planned;
    {
      const std::lock_guard lock(mutex_);
      planned = planned_;
    }
    return planned ? preview_start(*planned, job) : StartPreview{};
  }

 private:
  void begin_to_lead();
  void step_down();
  void take_over();
  std::string bind();
  void send(const std::string& peer, wire::Envelope envelope);
  void run();
  bool woken();
  void serve();
  void receive_all();
  void publish();

  const FleetOptions options_;
  JobStore& store_;
  const CurveKeyPair keys_;
  zmq::context_t context_{1};
  ZapHandler zap_;        ///< Before router_: without it every CURVE client is let in.
  LeaderLease lease_;     ///< Used by thread_ alone once that runs, like all down to reconciler_.
  zmq::socket_t router_;  ///< Open while leading.
  std::unique_ptr<FleetReconciler> reconciler_;  ///< While leading.
  uint64_t sequence_ = 0;
  Clock::time_point next_tick_{};
  Clock::time_point next_look_{};
  int wake_;  ///< eventfd, which unlike a socket any thread may write to.
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::string endpoint_;  ///< Guarded by mutex_, like what follows.
  std::vector<AgentView> agents_;
  std::shared_ptr<const QueuePositions> positions_ = std::make_shared<QueuePositions>();
  std::shared_ptr<const PlanInput> planned_;  ///< Null while standing by.
  std::thread thread_;
};

/// Returns the bound address.
std::string FleetServiceThread::bind() {
  router_ = zmq::socket_t(context_, zmq::socket_type::router);
  router_.set(zmq::sockopt::curve_server, true);
  router_.set(zmq::sockopt::curve_secretkey, keys_.secret_key);
  router_.set(zmq::sockopt::zap_domain, "fleet");
  router_.set(zmq::sockopt::router_mandatory, true);
  router_.set(zmq::sockopt::handshake_ivl, kHandshakeMs);
  router_.set(zmq::sockopt::maxmsgsize, int64_t{kMaxMessageBytes});
  router_.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMs);
  router_.set(zmq::sockopt::heartbeat_timeout, kHeartbeatTimeoutMs);
  router_.set(zmq::sockopt::linger, 0);
  router_.bind(options_.endpoint);
  return router_.get(zmq::sockopt::last_endpoint);
}

void FleetServiceThread::begin_to_lead() {
  const std::string bound = bind();
  const auto jobs = std::filesystem::absolute(options_.jobs_directory);
  ReconcilerOptions options{
      .jobs_directory = jobs,
      .prepare = [jobs](const JobRecord& job) { return prepare_run_directory(jobs, job); },
      .leader = lease_.generation(),
      .unix_ms = unix_ms,
      .rank_endpoint = rank_endpoint_of(bound),
      .tenants = options_.tenants};
  reconciler_ = std::make_unique<FleetReconciler>(
      store_, std::move(options), [this](const std::string& peer, wire::Envelope envelope) {
        send(peer, std::move(envelope));
      });
  const std::lock_guard lock(mutex_);
  endpoint_ = bound;
}

void FleetServiceThread::step_down() {
  reconciler_.reset();
  router_.close();
  const std::lock_guard lock(mutex_);
  endpoint_.clear();
  agents_.clear();
  planned_.reset();
  positions_ = std::make_shared<QueuePositions>();
}

/// The leadership is ours: the endpoint may still be somebody else's for a moment.
void FleetServiceThread::take_over() {
  try {
    begin_to_lead();
  } catch (const zmq::error_t& error) {
    log::error(fmt::format("cannot listen for agents, leaving the lead to others: {} ({})",
                           options_.endpoint, error.what()));
    router_.close();
    lease_.resign();
  }
}

void FleetServiceThread::send(const std::string& peer, wire::Envelope envelope) {
  envelope.set_version(kWireVersion);
  envelope.set_sequence(++sequence_);
  try {
    router_.send(zmq::buffer(peer), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    router_.send(zmq::buffer(envelope.SerializeAsString()), zmq::send_flags::dontwait);
  } catch (const zmq::error_t& error) {
    // The peer is gone (EHOSTUNREACH): whatever matters is sent again when it is back.
    log::debug(fmt::format("message not sent: {}", error.what()));
  }
}

void FleetServiceThread::receive_all() {
  zmq::message_t peer;
  zmq::message_t body;
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    if (!router_.recv(peer, zmq::recv_flags::dontwait)) return;
    bool more = peer.more();
    int frames = 0;
    while (more && router_.recv(body, zmq::recv_flags::dontwait)) {
      more = body.more();
      ++frames;
    }
    wire::Envelope envelope;
    if (frames != 1 || !envelope.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
      log::warning("dropped a message that is not one of ours");
      continue;
    }
    reconciler_->on_message(peer.to_string(), envelope, now_ms());
  }
}

void FleetServiceThread::publish() {
  auto agents = reconciler_->agents();
  const std::lock_guard lock(mutex_);
  agents_ = std::move(agents);
  positions_ = reconciler_->positions();
  planned_ = reconciler_->planned();
}

/// Whether there was a wake-up since the last call.
bool FleetServiceThread::woken() {
  eventfd_t count = 0;
  return ::eventfd_read(wake_, &count) == 0;
}

/// One turn as the leader: waits for messages, a wake-up or the next tick.
void FleetServiceThread::serve() {
  std::array<zmq::pollitem_t, 2> items{zmq::pollitem_t{router_.handle(), 0, ZMQ_POLLIN, 0},
                                       zmq::pollitem_t{nullptr, wake_, ZMQ_POLLIN, 0}};
  const auto due = reconciler_->wants_tick() ? std::min(next_tick_, next_look_) : next_tick_;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(due - Clock::now()) + 1ms;
  zmq::poll(items.data(), items.size(), std::clamp<std::chrono::milliseconds>(left, 0ms, kTick));
  if (woken()) reconciler_->look_again();
  receive_all();
  const auto begun = Clock::now();
  if (begun >= next_tick_ || (reconciler_->wants_tick() && begun >= next_look_)) {
    reconciler_->on_tick(now_ms());
    const auto ended = Clock::now();
    next_tick_ = ended + kTick;
    next_look_ = ended + kLookPause * (ended - begun);
  }
  publish();
}

void FleetServiceThread::run() {
  sigset_t all;  // Signals are for the main thread; here they would only interrupt the poll.
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  zmq::pollitem_t wake_up{nullptr, wake_, ZMQ_POLLIN, 0};
  while (!stopping_) {
    const bool leads = lease_.keep(now_ms());
    if (reconciler_ && (!leads || reconciler_->outlived(lease_.generation()))) step_down();
    if (leads && !reconciler_) take_over();
    if (reconciler_) {
      serve();
    } else {
      zmq::poll(&wake_up, 1, kStandByMs);
      woken();  // The leader looks at the queue; left unread it would end every poll at once.
    }
  }
}

}  // namespace

Result<std::unique_ptr<FleetService>> FleetService::start(const FleetOptions& options,
                                                          JobStore& store) {
  const auto keys = ensure_fleet_keys(options.keys_directory);
  if (!keys) return fail(keys.error());
  try {
    return std::make_unique<FleetServiceThread>(options, store, *keys);
  } catch (const zmq::error_t& error) {
    return fail(
        ErrorCode::kUnavailable,
        fmt::format("cannot listen for agents, choose another port or stop what uses it: {} "
                    "({})",
                    options.endpoint, error.what()));
  }
}

}  // namespace tunefleet::coordinator

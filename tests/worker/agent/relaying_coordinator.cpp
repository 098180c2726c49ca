#include "tests/worker/agent/relaying_coordinator.h"

#include <algorithm>

namespace tunefleet::agent {

using namespace std::chrono_literals;

RelayingCoordinator::RelayingCoordinator(TestKeys keys, std::string endpoint)
    : keys_(std::move(keys)), endpoint_(std::move(endpoint)) {
  open();
}

RelayingCoordinator::~RelayingCoordinator() { close(); }

void RelayingCoordinator::open() {
  router_ = bind_router(context_, endpoint_, keys_.server_secret);
  endpoint_ = router_.get(zmq::sockopt::last_endpoint);
  stopping_ = false;
  thread_ = std::thread([this] { run(); });
}

void RelayingCoordinator::close() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  router_.close();
  relay_ = {};
  const std::lock_guard lock(mutex_);
  peers_.clear();
  beats_.clear();
}

void RelayingCoordinator::send(const std::string& host, wire::Envelope envelope) {
  const std::lock_guard lock(mutex_);
  to_be_sent_.emplace_back(peers_.at(host), std::move(envelope));
}

void RelayingCoordinator::run() {
  zmq::pollitem_t item{router_.handle(), 0, ZMQ_POLLIN, 0};
  while (!stopping_) {
    zmq::poll(&item, 1, 5ms);
    receive_all();
    std::vector<std::pair<std::string, wire::Envelope>> due;
    {
      const std::lock_guard lock(mutex_);
      due.swap(to_be_sent_);
    }
    for (auto& [peer, envelope] : due) deliver(peer, std::move(envelope));
  }
}

void RelayingCoordinator::receive_all() {
  zmq::message_t peer;
  zmq::message_t body;
  while (router_.recv(peer, zmq::recv_flags::dontwait) &&
         router_.recv(body, zmq::recv_flags::dontwait)) {
    wire::Envelope envelope;
    if (!envelope.ParseFromArray(body.data(), static_cast<int>(body.size()))) continue;
    const auto now = std::chrono::steady_clock::now().time_since_epoch() / 1ms;
    if (auto relayed = relay_.on_message(peer.to_string(), envelope, now)) {
      deliver(relayed->peer, std::move(relayed->envelope));
    }
    take(peer.to_string(), envelope);
  }
}

void RelayingCoordinator::take(const std::string& peer, const wire::Envelope& envelope) {
  const std::lock_guard lock(mutex_);
  if (envelope.has_agent_beat()) {
    peers_[envelope.agent_beat().host()] = peer;
    beats_[envelope.agent_beat().host()] = envelope.agent_beat();
  } else if (envelope.has_gang_ended()) {
    ends_.push_back(envelope.gang_ended());
    wire::Envelope ack;
    ack.mutable_ack()->set_sequence(envelope.sequence());
    to_be_sent_.emplace_back(peer, std::move(ack));
  } else {
    others_.push_back(envelope);
  }
}

void RelayingCoordinator::deliver(const std::string& peer, wire::Envelope envelope) {
  envelope.set_version(1);
  envelope.set_sequence(++sequence_);
  router_.send(zmq::buffer(peer), zmq::send_flags::sndmore);
  router_.send(zmq::buffer(envelope.SerializeAsString()), zmq::send_flags::none);
}

std::optional<wire::AgentBeat> RelayingCoordinator::wait_for_beat(
    const std::string& host, const std::function<bool(const wire::AgentBeat&)>& fits,
    std::chrono::milliseconds limit) {
  std::optional<wire::AgentBeat> found;
  eventually(
      [&] {
        const std::lock_guard lock(mutex_);
        const auto beat = beats_.find(host);
        if (beat != beats_.end() && fits(beat->second)) found = beat->second;
        return found.has_value();
      },
      limit);
  return found;
}

std::optional<wire::GangEnded> RelayingCoordinator::wait_for_end(std::chrono::milliseconds limit) {
  std::optional<wire::GangEnded> found;
  eventually(
      [&] {
        const std::lock_guard lock(mutex_);
        if (ends_.empty()) return false;
        found = std::move(ends_.front());
        ends_.pop_front();
        return true;
      },
      limit);
  return found;
}

std::optional<wire::Envelope> RelayingCoordinator::wait_for(
    const std::function<bool(const wire::Envelope&)>& fits, std::chrono::milliseconds limit) {
  std::optional<wire::Envelope> found;
  eventually(
      [&] {
        const std::lock_guard lock(mutex_);
        const auto fitting = std::ranges::find_if(others_, fits);
        if (fitting == others_.end()) return false;
        found = std::move(*fitting);
        others_.erase(fitting);
        return true;
      },
      limit);
  return found;
}

size_t RelayingCoordinator::ends_heard() {
  const std::lock_guard lock(mutex_);
  return ends_.size();
}

}  // namespace tunefleet::agent

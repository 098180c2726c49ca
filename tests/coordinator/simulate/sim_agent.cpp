#include "tests/coordinator/simulate/sim_agent.h"

#include <fmt/format.h>

#include <vector>

#include "proto/wire_version.h"

namespace tunefleet::simulate {
namespace {

constexpr int64_t kStopTakesMs = 2'000;

wire::GangEnded end_of(const GangKey& key, bool succeeded, const std::string& host,
                       const std::string& code, const std::string& why) {
  wire::GangEnded ended;
  ended.set_job(key.first);
  ended.set_attempt(static_cast<uint64_t>(key.second));
  ended.set_succeeded(succeeded);
  if (succeeded) return ended;
  ended.mutable_failure()->set_rank(code == "cancelled" ? -1 : 0);
  ended.mutable_failure()->set_host(host);
  ended.mutable_failure()->set_code(code);
  ended.mutable_failure()->set_message(why);
  return ended;
}

}  // namespace

SimAgent::SimAgent(std::string host, int64_t slots, SimDisk& disk, uint64_t seed, SimPeers peers,
                   Send send)
    : host_(std::move(host)),
      slots_(slots),
      disk_(disk),
      draws_(seed, 1'000 + std::hash<std::string>()(host_)),
      peers_(std::move(peers)),
      send_(std::move(send)) {}

int64_t SimAgent::used_slots() const {
  int64_t used = 0;
  for (const auto& [key, ranks] : ranks_) used += ranks;
  for (const auto& [key, kept] : reserved_) used += ranks_.contains(key) ? 0 : kept.first;
  return used;
}

bool SimAgent::older_leader(uint64_t generation) {
  if (generation < leader_) return true;
  leader_ = generation;
  return false;
}

void SimAgent::on_message(const wire::Envelope& envelope, int64_t now_ms) {
  switch (envelope.body_case()) {
    case wire::Envelope::kStartGang:
      if (!older_leader(envelope.start_gang().leader())) start(envelope.start_gang());
      break;
    case wire::Envelope::kStopGang:
      if (!older_leader(envelope.stop_gang().leader())) stop(envelope.stop_gang(), now_ms);
      break;
    case wire::Envelope::kReserveSlots:
      if (!older_leader(envelope.reserve_slots().leader()))
        reserve(envelope.reserve_slots(), now_ms);
      break;
    case wire::Envelope::kReleaseSlots: {
      if (older_leader(envelope.release_slots().leader())) break;
      const GangKey key{envelope.release_slots().job(),
                        static_cast<int64_t>(envelope.release_slots().attempt())};
      reserved_.erase(key);
      if (holds(key)) leave(key);
      break;
    }
    case wire::Envelope::kAck:
      std::erase_if(ends_, [&](const auto& entry) {
        return entry.second.second == envelope.ack().sequence();
      });
      break;
    default:
      break;
  }
}

void SimAgent::start(const wire::StartGang& order) {
  const GangKey key{order.job(), static_cast<int64_t>(order.attempt())};
  if (!careless_ && (gangs_.contains(key) || ends_.contains(key))) return;
  auto& run = disk_.runs[key.first];
  int64_t here = order.ranks();
  if (order.parts_size() > 0) here = order.parts(0).ranks();
  if (!careless_ && run.noted_attempt == key.second && !run.torn) {
    if (run.ended) {
      ends_[key] = {*run.ended, 0};
    } else {
      end(key, false, "unavailable", "the agent was restarted while the job ran");
    }
    return;
  }
  if (!careless_ && run.noted_attempt > key.second) {
    return end(key, false, "conflict", "a later attempt has been here");
  }
  reserved_.erase(key);
  if (!careless_ && used_slots() + here > slots_) {
    return end(key, false, "resource_exhausted", "not enough free slots");
  }
  run.noted_attempt = key.second;
  run.ended.reset();
  run.torn = false;
  Gang gang{.ranks = order.ranks()};
  for (int i = 1; i < order.parts_size(); ++i) {
    const std::string& host = order.parts(i).host();
    if (!peers_.join(host, key)) {
      for (const auto& joined : gang.members) peers_.leave(joined, key);
      return end(key, false, "unavailable", "mpirun could not reach " + host);
    }
    gang.members.push_back(host);
  }
  gangs_[key] = std::move(gang);
  ranks_[key] = here;
  send_beat();
}

void SimAgent::stop(const wire::StopGang& order, int64_t now_ms) {
  const GangKey key{order.job(), static_cast<int64_t>(order.attempt())};
  const auto gang = gangs_.find(key);
  if (gang != gangs_.end()) {
    if (gang->second.stop_at_ms == 0) gang->second.stop_at_ms = now_ms + kStopTakesMs;
  } else if (!ends_.contains(key)) {
    end(key, false, "cancelled", "stopped before it ran");
  }
}

void SimAgent::reserve(const wire::ReserveSlots& order, int64_t now_ms) {
  const GangKey key{order.job(), static_cast<int64_t>(order.attempt())};
  if (gangs_.contains(key)) return;
  if (!reserved_.contains(key) && used_slots() + order.ranks() > slots_) {
    wire::Envelope refusal;
    auto& refused = *refusal.mutable_reservation_refused();
    refused.set_job(order.job());
    refused.set_attempt(order.attempt());
    refused.set_host(host_);
    refused.set_reason("not enough free slots");
    send_(std::move(refusal));
    return;
  }
  reserved_[key] = {order.ranks(), now_ms + order.ttl_ms()};
  send_beat();
}

void SimAgent::end(const GangKey& key, bool succeeded, const std::string& code,
                   const std::string& why) {
  const auto ended = end_of(key, succeeded, host_, code, why);
  auto& run = disk_.runs[key.first];
  if (run.noted_attempt <= key.second) {
    run.noted_attempt = key.second;
    run.ended = ended;
    run.torn = false;
  }
  ends_[key] = {ended, 0};
}

bool SimAgent::join(const GangKey& key) {
  const auto kept = reserved_.find(key);
  if (kept == reserved_.end()) return false;
  gangs_[key] = {.ranks = kept->second.first, .member = true};
  ranks_[key] = kept->second.first;
  reserved_.erase(kept);
  return true;
}

void SimAgent::leave(const GangKey& key) {
  gangs_.erase(key);
  ranks_.erase(key);
}

bool SimAgent::members_hold(const GangKey& key, const Gang& gang) const {
  for (const auto& host : gang.members) {
    if (!peers_.holds(host, key)) return false;
  }
  return true;
}

void SimAgent::tell_loss(const GangKey& key, const SimDisk::Run& run) {
  if (!run.loss) return;
  wire::Envelope envelope;
  envelope.set_sequence(++sequence_);
  auto& event = *envelope.mutable_rank_event();
  event.set_job(key.first);
  event.set_attempt(static_cast<uint64_t>(key.second));
  event.set_number(static_cast<uint64_t>(run.step));
  event.set_level("info");
  event.set_type("metrics");
  event.set_message("step");
  event.set_data_json(fmt::format(R"({{"loss":{},"global_step/max_steps":"{}/{}"}})", *run.loss,
                                  run.step, run.length));
  send_(std::move(envelope));
}

void SimAgent::train(const GangKey& key, Gang& gang, int64_t now_ms) {
  if (gang.member) return;
  auto& run = disk_.runs[key.first];
  const bool fenced = run.saved_by > key.second;
  if (!members_hold(key, gang)) return end(key, false, "unavailable", "an agent of it is lost");
  if (run.user_error) return end(key, false, "invalid_argument", "the data set is empty");
  if (gang.stop_at_ms != 0 && now_ms >= gang.stop_at_ms) {
    return end(key, false, "cancelled", "asked to stop");
  }
  if (draws_.chance(run.fails)) return end(key, false, "unavailable", "killed by SIGKILL");
  if (fenced) return end(key, false, "conflict", "a later attempt has saved a checkpoint");
  run.step = run.step + 1;
  run.saved_by = key.second;
  tell_loss(key, run);
  if (run.step >= run.length) end(key, true, "", "");
}

void SimAgent::on_tick(int64_t now_ms) {
  std::erase_if(reserved_, [&](const auto& entry) { return now_ms >= entry.second.second; });
  std::vector<GangKey> over;
  for (auto& [key, gang] : gangs_) {
    train(key, gang, now_ms);
    if (ends_.contains(key)) over.push_back(key);
  }
  for (const GangKey& key : over) {
    for (const auto& host : gangs_.at(key).members) peers_.leave(host, key);
    leave(key);
  }
  for (auto& [key, entry] : ends_) {
    wire::Envelope envelope;
    *envelope.mutable_gang_ended() = entry.first;
    entry.second = ++sequence_;
    envelope.set_sequence(entry.second);
    send_(std::move(envelope));
  }
  send_beat();
}

void SimAgent::send_beat() {
  wire::Envelope envelope;
  auto& beat = *envelope.mutable_agent_beat();
  beat.set_host(host_);
  beat.set_slots(static_cast<uint32_t>(slots_));
  const auto list = [&beat](const GangKey& key, wire::GangRole role) {
    auto& status = *beat.add_gangs();
    status.set_job(key.first);
    status.set_attempt(static_cast<uint64_t>(key.second));
    status.set_role(role);
  };
  for (const auto& [key, gang] : gangs_)
    list(key, gang.member ? wire::GANG_MEMBER : wire::GANG_LEAD);
  for (const auto& [key, kept] : reserved_) list(key, wire::GANG_RESERVED);
  send_(std::move(envelope));
}

void SimAgent::crash(bool tears) {
  for (const auto& [key, gang] : gangs_) {
    auto& run = disk_.runs[key.first];
    if (tears && run.noted_attempt == key.second) run.torn = true;
  }
  gangs_.clear();
  ranks_.clear();
  reserved_.clear();
  ends_.clear();
  leader_ = 0;
}

}  // namespace tunefleet::simulate

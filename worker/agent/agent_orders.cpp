#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "proto/log.h"
#include "worker/agent/agent.h"

namespace tunefleet::agent {
namespace {

int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// job and attempt of any message about a gang.
template <typename Message>
GangId gang_of(const Message& message) {
  return {message.job(), static_cast<int64_t>(message.attempt())};
}

GangOrder order_of(const wire::StartGang& message, const std::string& rank_endpoint) {
  GangOrder order{.job = message.job(),
                  .attempt = static_cast<int64_t>(message.attempt()),
                  .ranks = static_cast<int>(message.ranks()),
                  .run_directory = message.run_directory(),
                  .rank_endpoint = rank_endpoint};
  if (message.parts_size() < 2) return order;
  for (const auto& part : message.parts()) {
    order.parts.push_back({.host = part.host(), .ranks = static_cast<int>(part.ranks())});
  }
  return order;
}

int ranks_here(const GangOrder& order) {
  return order.parts.empty() ? order.ranks : order.parts.front().ranks;
}

/// kInvalidArgument when the parts do not make up the gang.
Status check_parts(const GangOrder& order, const std::string& own_host) {
  if (order.parts.empty()) return {};
  if (order.parts.front().host != own_host) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the first part of a gang is the lead's: {}, not {}", own_host,
                            order.parts.front().host));
  }
  int64_t ranks = 0;
  for (const auto& part : order.parts) {
    ranks += part.ranks;
    if (part.ranks > 0 && is_plain_host_name(part.host)) continue;
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("a host for ranks has a name of letters, digits, '.', '-' and '_', give "
                    "the agent one with --host: {} ({} ranks)",
                    part.host, part.ranks));
  }
  if (ranks == order.ranks) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("the parts of a gang do not add up: {}, not {} ranks", ranks, order.ranks));
}

}  // namespace

void Agent::take_messages() {
  while (const auto envelope = link_.receive()) {
    switch (envelope->body_case()) {
      case wire::Envelope::kExecRequest:
        if (parts_.take_request(envelope->exec_request(), link_, steady_ms())) next_beat_ms_ = 0;
        break;
      case wire::Envelope::kAck:
        ends_.acknowledged(envelope->ack().sequence());
        break;
      case wire::Envelope::kRejected:
        log::error("the coordinator rejects this agent: " + envelope->rejected().message());
        break;
      default:
        take_order(*envelope);
        break;
    }
  }
}

/// An order counts unless its coordinator was replaced; then it is not acknowledged either.
void Agent::take_order(const wire::Envelope& envelope) {
  switch (envelope.body_case()) {
    case wire::Envelope::kStartGang:
      if (!obeys(envelope.start_gang().leader())) return;
      start_gang(envelope.start_gang());
      break;
    case wire::Envelope::kStopGang:
      if (!obeys(envelope.stop_gang().leader())) return;
      stop_gang(envelope.stop_gang());
      break;
    case wire::Envelope::kReserveSlots:
      if (!obeys(envelope.reserve_slots().leader())) return;
      reserve_slots(envelope.reserve_slots());
      break;
    case wire::Envelope::kReleaseSlots:
      if (!obeys(envelope.release_slots().leader())) return;
      release_slots(envelope.release_slots());
      break;
    default:
      return;
  }
  acknowledge(envelope.sequence());
}

bool Agent::obeys(uint64_t leader) {
  if (fence_.lets_pass(leader)) return true;
  if (!std::exchange(fence_told_, true)) {
    log::warning(fmt::format("ignoring a coordinator that was replaced: generation {}, newest {}",
                             leader, fence_.newest()));
  }
  return false;
}

void Agent::acknowledge(uint64_t sequence) {
  wire::Envelope reply;
  reply.mutable_ack()->set_sequence(sequence);
  link_.send(std::move(reply));
}

Failure Agent::refusal(const Error& error) const {
  return {.rank = -1,
          .host = options_.launch.host,
          .code = std::string(error_code_name(error.code)),
          .message = error.message};
}

/// What stands against starting a gang that has not run here yet, slots apart.
Status Agent::may_start(const GangOrder& order) const {
  if (leave_asked_ms_ != 0) {
    return fail(ErrorCode::kUnavailable, "the agent is being stopped; submit the job again");
  }
  return check_parts(order, options_.launch.host);
}

/// Starts a gang unless it runs, has run, or ends right now: whatever is so is told (again).
void Agent::start_gang(const wire::StartGang& message) {
  const GangId id = gang_of(message);
  if (gangs_.contains(id) || ends_.contains(id)) return;
  const GangOrder order = order_of(
      message, message.rank_endpoint().empty() ? link_.endpoint() : message.rank_endpoint());
  const auto refuse = [&](const Error& error) {
    ledger_.end(id);
    ends_.add(order, refusal(error), "");
  };
  const auto note = read_gang_note(order.run_directory);
  if (note && note->attempt == order.attempt) {
    if (note->ended) return ends_.repeat(order, *note->ended);
    return refuse({ErrorCode::kUnavailable,
                   "the agent was restarted while the job ran; submit the job again"});
  }
  if (const auto fine = may_start(order); !fine) return refuse(fine.error());
  if (const auto taken = ledger_.lead(id, ranks_here(order)); !taken) return refuse(taken.error());
  const auto noted = write_gang_note(order.run_directory,
                                     {.attempt = order.attempt, .host = options_.launch.host});
  if (!noted) {
    return refuse(
        {ErrorCode::kUnavailable,
         "the run directory cannot be used, is shared storage mounted? " + noted.error().message});
  }
  auto gang = Gang::start(options_.launch, order);
  if (!gang) return refuse(gang.error());
  log::info(fmt::format("job {} attempt {}: started {} ranks, {} of them here", order.job,
                        order.attempt, order.ranks, ranks_here(order)));
  gangs_.emplace(id, std::move(*gang));
  next_beat_ms_ = 0;
}

/// The lead of a gang answers for it (GangEnded); an agent with a part of it only ends that.
void Agent::stop_gang(const wire::StopGang& message) {
  const GangId id = gang_of(message);
  const auto gang = gangs_.find(id);
  if (gang != gangs_.end()) {
    if (!gang->second.stopping()) {
      log::info(
          fmt::format("job {} attempt {}: stopping, {}", id.first, id.second, message.reason()));
    }
    gang->second.stop(steady_ms(), message.grace_ms(), message.reason());
    return;
  }
  if (parts_.stop(id, steady_ms(), message.grace_ms(), message.reason())) return;
  if (ledger_.release(id)) next_beat_ms_ = 0;
  if (ends_.contains(id)) return;
  ends_.add({.job = id.first, .attempt = id.second},
            refusal({ErrorCode::kCancelled, "stopped before it ran: " + message.reason()}), "");
}

void Agent::reserve_slots(const wire::ReserveSlots& message) {
  const GangId id = gang_of(message);
  const auto kept =
      leave_asked_ms_ != 0
          ? fail(ErrorCode::kUnavailable, "the agent is being stopped")
          : ledger_.reserve(id, static_cast<int>(message.ranks()), steady_ms(), message.ttl_ms());
  if (kept) {
    next_beat_ms_ = 0;
    return;
  }
  wire::Envelope reply;
  auto& refused = *reply.mutable_reservation_refused();
  refused.set_job(id.first);
  refused.set_attempt(message.attempt());
  refused.set_host(options_.launch.host);
  refused.set_reason(kept.error().message);
  link_.send(std::move(reply));
}

/// A gang that will not start: its slots are free again, and what its lead may have started here
/// already is killed.
void Agent::release_slots(const wire::ReleaseSlots& message) {
  const GangId id = gang_of(message);
  parts_.end(id);
  if (ledger_.release(id)) next_beat_ms_ = 0;
}

}  // namespace tunefleet::agent

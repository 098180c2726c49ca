#include "coordinator/fleet/fleet_reconciler.h"

#include <fmt/format.h>

#include <utility>

#include "proto/log.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kTickMs = 1'000;
constexpr int64_t kRereadMs =
    5'000;  ///< Another API server may have changed the queue without waking this one.

}  // namespace

FleetReconciler::FleetReconciler(JobStore& store, ReconcilerOptions options, Send send)
    : store_(store), options_(std::move(options)), send_(std::move(send)) {
  options_.policy.stop_takes_ms = options_.stop_grace_ms;
}

bool FleetReconciler::decided(const Error& error) {
  switch (error.code) {
    case ErrorCode::kConflict:
    case ErrorCode::kNotFound:
    case ErrorCode::kInvalidArgument:
      return true;
    case ErrorCode::kPermissionDenied:
      if (!std::exchange(fenced_, true)) log::error("stepping down: " + error.message);
      return false;
    case ErrorCode::kUnavailable:
      if (!std::exchange(store_away_, true)) {
        log::error("the queue does not answer, running jobs go on, trying again: " + error.message);
      }
      return false;
    default:
      log::error("the queue cannot be used, trying again: " + error.message);
      return false;
  }
}

void FleetReconciler::on_message(const std::string& peer, const wire::Envelope& envelope,
                                 int64_t now_ms) {
  if (envelope.version() != kWireVersion) {
    wire::Envelope reply;
    reply.mutable_rejected()->set_code(std::string(error_code_name(ErrorCode::kInvalidArgument)));
    reply.mutable_rejected()->set_message(
        fmt::format("wire version not spoken here, use programs of one build: {}, not {}",
                    kWireVersion, envelope.version()));
    send_(peer, std::move(reply));
    return;
  }
  if (auto relayed = relay_.on_message(peer, envelope, now_ms)) {
    send_(relayed->peer, std::move(relayed->envelope));
  }
  switch (envelope.body_case()) {
    case wire::Envelope::kAgentBeat:
      if (envelope.agent_beat().host().empty()) break;
      if (!state_.agents.contains(envelope.agent_beat().host())) {
        log::info(fmt::format("agent joined: {}, {} slots", envelope.agent_beat().host(),
                              envelope.agent_beat().slots()));
      }
      if (take_beat(state_, peer, envelope.agent_beat(), now_ms)) look_again();
      break;
    case wire::Envelope::kGangEnded:
      take_gang_ended(peer, envelope, now_ms);
      break;
    case wire::Envelope::kReservationRefused:
      take_refusal(envelope.reservation_refused());
      break;
    case wire::Envelope::kRankBeat:
      take_rank_beat(envelope, now_ms);
      break;
    case wire::Envelope::kRankEvent:
      take_rank_event(peer, envelope);
      break;
    default:
      break;  // Ack: the agent's beats say more.
  }
}

void FleetReconciler::acknowledge(const std::string& peer, const wire::Envelope& envelope) {
  wire::Envelope reply;
  reply.mutable_ack()->set_sequence(envelope.sequence());
  send_(peer, std::move(reply));
}

void FleetReconciler::on_tick(int64_t now_ms) {
  // A beat every second was sent while this thread waited for a slow store: late reading is not
  // silence.
  const int64_t gap = last_tick_ms_ == 0 ? 0 : now_ms - last_tick_ms_;
  last_tick_ms_ = now_ms;
  for (const auto& host :
       find_dead_agents(state_, options_.times, now_ms, gap > 2 * kTickMs ? gap - kTickMs : 0)) {
    log::warning("agent is silent: " + host);
    look_again();
  }
  flush_progress();
  const bool due = due_ms_ != 0 && options_.unix_ms() >= due_ms_;
  if (queue_changed_ || due || store_away_ || now_ms - queue_read_ms_ >= kRereadMs) {
    queue_changed_ = false;
    if (!read_queue(now_ms)) queue_changed_ = true;
  }
  if (!queue_read_ || fenced_) return;
  serve_reservations(now_ms);
  serve_gangs(now_ms);
  stop_strangers(now_ms);
}

bool FleetReconciler::read_queue(int64_t now_ms) {
  const auto running = store_.running();
  if (!running) return decided(running.error());
  const auto queued = store_.queued();
  if (!queued) return decided(queued.error());
  if (std::exchange(store_away_, false)) log::info("the queue answers again");
  queue_read_ = true;
  queue_read_ms_ = now_ms;
  take_running(state_, *running, now_ms);
  usage_.take(*running, options_.policy.usage_window_ms, options_.unix_ms());
  carry_out_plan(*queued, *running, now_ms);
  return !store_away_;
}

}  // namespace tunefleet::coordinator

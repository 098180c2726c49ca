#include "coordinator/fleet/fleet_reconciler.h"
#include "coordinator/queue/job_rules.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
// The messages to agents.

namespace {

constexpr uint32_t kStrangerGraceMs = 2'000;

}  // namespace

void FleetReconciler::send_start(GangState& gang, const AgentState& agent, int64_t now_ms) {
  gang.start_sent_ms = now_ms;
  if (gang.first_start_ms == 0) gang.first_start_ms = now_ms;
  const auto directory = options_.jobs_directory / gang.id.job;
  wire::Envelope envelope;
  auto& start = *envelope.mutable_start_gang();
  start.set_job(gang.id.job);
  start.set_attempt(static_cast<uint64_t>(gang.id.attempt));
  start.set_ranks(static_cast<uint32_t>(ranks_of(gang.placement)));
  start.set_leader(static_cast<uint64_t>(options_.leader));
  if (gang.placement.size() > 1) {
    for (const GangPart& part : gang.placement) {
      auto& sent = *start.add_parts();
      sent.set_host(part.host);
      sent.set_ranks(static_cast<uint32_t>(part.ranks));
    }
  }
  start.set_run_directory(directory.string());
  start.set_rank_endpoint(options_.rank_endpoint);
  send_(agent.peer, std::move(envelope));
}

void FleetReconciler::send_stop(const GangId& id, const std::string& peer,
                                const std::string& reason) {
  wire::Envelope envelope;
  auto& stop = *envelope.mutable_stop_gang();
  stop.set_job(id.job);
  stop.set_attempt(static_cast<uint64_t>(id.attempt));
  const bool ours = state_.gangs.contains(id.job) && state_.gangs.at(id.job).id == id;
  const bool hangs = ours && state_.gangs.at(id.job).condemned;
  stop.set_grace_ms(ours && !hangs ? static_cast<uint32_t>(options_.stop_grace_ms)
                                   : kStrangerGraceMs);
  stop.set_reason(reason);
  stop.set_leader(static_cast<uint64_t>(options_.leader));
  send_(peer, std::move(envelope));
}

void FleetReconciler::send_reserve(const GangReservation& reservation, const GangPart& part) {
  const auto agent = state_.agents.find(part.host);
  if (agent == state_.agents.end()) return;
  wire::Envelope envelope;
  auto& reserve = *envelope.mutable_reserve_slots();
  reserve.set_job(reservation.id.job);
  reserve.set_attempt(static_cast<uint64_t>(reservation.id.attempt));
  reserve.set_ranks(static_cast<uint32_t>(part.ranks));
  reserve.set_ttl_ms(static_cast<uint32_t>(options_.times.reservation_ttl));
  reserve.set_leader(static_cast<uint64_t>(options_.leader));
  send_(agent->second.peer, std::move(envelope));
}

void FleetReconciler::send_release(const GangId& id, const std::string& peer) {
  wire::Envelope envelope;
  auto& release = *envelope.mutable_release_slots();
  release.set_job(id.job);
  release.set_attempt(static_cast<uint64_t>(id.attempt));
  release.set_leader(static_cast<uint64_t>(options_.leader));
  send_(peer, std::move(envelope));
}

}  // namespace tunefleet::coordinator

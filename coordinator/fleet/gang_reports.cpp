#include <fmt/format.h>

#include <utility>

#include "coordinator/fleet/fleet_reconciler.h"
#include "proto/log.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
// What agents and ranks tell, and what it makes of jobs.

void FleetReconciler::take_gang_ended(const std::string& peer, const wire::Envelope& envelope,
                                      int64_t now_ms) {
  const auto& ended = envelope.gang_ended();
  const GangId id{ended.job(), static_cast<int64_t>(ended.attempt())};
  flush_progress();
  const auto gang = state_.gangs.find(id.job);
  const bool followed = gang != state_.gangs.end() && gang->second.id == id;
  const auto condemned = followed ? gang->second.condemned : std::optional<AttemptFailure>();
  const bool settled = settle(id, [&](const JobRecord& job) {
    return outcome_of(ended, job, condemned ? &*condemned : nullptr, options_.retries,
                      options_.unix_ms());
  });
  if (!settled) {
    if (followed) gang->second.end_heard_ms = now_ms;
    return;  // Not acknowledged: the agent sends it again.
  }
  acknowledge(peer, envelope);
  look_again();
}

bool FleetReconciler::settle(const GangId& id,
                             const std::function<GangOutcome(const JobRecord&)>& outcome_for) {
  for (;;) {
    const auto job = store_.get(id.job);
    if (!job && !decided(job.error())) return false;
    if (!job || job->phase != JobPhase::kRunning || job->attempt != id.attempt) break;
    GangOutcome outcome = outcome_for(*job);
    outcome.change.leader = options_.leader;
    const auto stored =
        store_.transition(id.job, id.attempt, JobPhase::kRunning, outcome.phase, outcome.change);
    if (stored) {
      log::info(
          fmt::format("job {} attempt {}: {}", id.job, id.attempt, outcome.change.event_message));
      break;
    }
    if (!decided(stored.error())) return false;
    if (stored.error().code != ErrorCode::kConflict) break;
    // Somebody asked for a stop after the job was read: it is read again.
  }
  const auto gang = state_.gangs.find(id.job);
  if (gang != state_.gangs.end() && gang->second.id == id) state_.gangs.erase(gang);
  progress_.erase(id.job);
  return true;
}

void FleetReconciler::take_refusal(const wire::ReservationRefused& refused) {
  const auto found = state_.reservations.find(refused.job());
  if (found == state_.reservations.end() ||
      found->second.id.attempt != static_cast<int64_t>(refused.attempt())) {
    return;
  }
  found->second.refused = fmt::format("{}: {}", refused.host(), refused.reason());
}

void FleetReconciler::take_rank_beat(const wire::Envelope& envelope, int64_t now_ms) {
  const auto& beat = envelope.rank_beat();
  const auto gang = state_.gangs.find(beat.job());
  if (gang == state_.gangs.end() ||
      gang->second.id.attempt != static_cast<int64_t>(beat.attempt())) {
    return;
  }
  gang->second.progress.take({.rank = static_cast<int64_t>(beat.rank()),
                              .host = beat.host(),
                              .phase = beat.phase(),
                              .step = static_cast<int64_t>(beat.step()),
                              .collectives = static_cast<int64_t>(beat.collectives())},
                             now_ms);
  if (beat.rank() == 0) progress_[beat.job()] = {gang->second.id.attempt, progress_of(beat)};
}

void FleetReconciler::flush_progress() {
  for (const auto& [job, entry] : progress_) {
    const auto stored = store_.set_progress(job, entry.first, entry.second);
    if (!stored && !decided(stored.error())) return;
  }
  progress_.clear();
}

void FleetReconciler::take_rank_event(const std::string& peer, const wire::Envelope& envelope) {
  const auto& event = envelope.rank_event();
  auto data = nlohmann::json::parse(event.data_json(), nullptr, false);
  const auto stored = store_.append_event(
      event.job(), static_cast<int64_t>(event.attempt()), static_cast<int64_t>(event.number()),
      {.level = event.level(),
       .type = event.type(),
       .message = event.message(),
       .data = data.is_object() ? std::move(data) : nlohmann::json(),
       .created_at_ms = event.created_at_ms()});
  if (stored || decided(stored.error())) acknowledge(peer, envelope);
}

}  // namespace tunefleet::coordinator

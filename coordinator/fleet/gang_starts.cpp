#include <fmt/format.h>

#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "coordinator/fleet/fleet_reconciler.h"
#include "coordinator/queue/job_rules.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
// From a plan to gangs that run: stops for others, slots that are kept, starts.

namespace {

std::string start_message(const JobRecord& job, const Placement& placement) {
  std::string hosts;
  for (const GangPart& part : placement) {
    hosts += fmt::format(
        "{}{}", hosts.empty() ? "" : ", ",
        placement.size() == 1 ? part.host : fmt::format("{} ({})", part.host, part.ranks));
  }
  const int64_t ranks = ranks_of(placement);
  return fmt::format("{}: {} {} on {}", job.attempt == 0 ? "Job started" : "Job started again",
                     ranks, ranks == 1 ? "rank" : "ranks", hosts);
}

}  // namespace

void FleetReconciler::carry_out_plan(const std::vector<JobRecord>& queued,
                                     const std::vector<JobRecord>& running, int64_t now_ms) {
  drop_idle_reservations(queued);
  planned_ = std::make_shared<const PlanInput>(plan_input_of(state_, queued, running,
                                                             usage_.policies(options_.tenants),
                                                             options_.policy, options_.unix_ms()));
  const Plan decision = plan(*planned_);
  std::unordered_map<std::string_view, const JobRecord*> by_id;
  due_ms_ = 0;
  for (const JobRecord& job : queued) {
    by_id[job.id] = &job;
    const bool pauses = job.not_before_ms > options_.unix_ms();
    if (pauses && (due_ms_ == 0 || job.not_before_ms < due_ms_)) due_ms_ = job.not_before_ms;
  }
  positions_ = std::make_shared<QueuePositions>();
  for (const PlannedWait& wait : decision.waits) {
    (*positions_)[wait.job] = {.position = wait.position,
                               .reason = decision.reasons[wait.reason],
                               .estimated_start_ms = wait.estimated_start_ms};
  }
  for (const auto& [job, reservation] : state_.reservations) {
    (*positions_)[job] = {.position = 1, .reason = "keeping slots on its agents"};
  }
  carry_out_stops(decision);
  for (const PlannedStart& planned : decision.starts) {
    const JobRecord& job = *by_id.at(planned.job);
    if (planned.placement.size() > 1) {
      reserve(job, planned.placement, now_ms);
    } else if (!start_waiting(job, planned.placement, now_ms)) {
      return;
    }
  }
}

void FleetReconciler::carry_out_stops(const Plan& decision) {
  for (const PlannedStop& stop : decision.stops) {
    const auto reason = stop.why == StopWhy::kPreempt ? StopReason::kPreempt : StopReason::kResize;
    const auto asked = store_.request_stop(stop.job, reason, stop.reason, options_.leader);
    if (!asked && !decided(asked.error())) return;
    const auto gang = state_.gangs.find(stop.job);
    if (!asked || gang == state_.gangs.end()) continue;
    gang->second.stop = asked->stop;
    gang->second.resize_to = stop.new_size;
  }
}

/// Of jobs that were cancelled or paused in the meantime.
void FleetReconciler::drop_idle_reservations(const std::vector<JobRecord>& queued) {
  if (state_.reservations.empty()) return;
  std::set<std::string> waiting;
  for (const JobRecord& job : queued) waiting.insert(job.id);
  std::erase_if(state_.reservations, [&](const auto& entry) {
    if (waiting.contains(entry.first)) return false;
    release(entry.second);
    return true;
  });
}

void FleetReconciler::reserve(const JobRecord& job, const Placement& placement, int64_t now_ms) {
  state_.reservations[job.id] = {
      .id = {job.id, job.attempt + 1}, .placement = placement, .since_ms = now_ms};
  (*positions_)[job.id] = {.position = 1, .reason = "keeping slots on its agents"};
}

/// Asks for slots until all have them, then starts the gang; or gives them back.
void FleetReconciler::serve_reservations(int64_t now_ms) {
  std::vector<std::string> over;
  for (auto& [job, reservation] : state_.reservations) {
    if (reservation.complete()) {
      if (start_reserved(reservation, now_ms)) over.push_back(job);
    } else if (!reservation.refused.empty() ||
               now_ms - reservation.since_ms > options_.times.reservation_limit) {
      log::warning(fmt::format(
          "job {}: slots are not kept, looking again: {}", job,
          reservation.refused.empty() ? "an agent does not answer" : reservation.refused));
      release(reservation);
      over.push_back(job);
    } else if (now_ms - reservation.sent_ms >= options_.times.resend_start) {
      reservation.sent_ms = now_ms;
      for (const GangPart& part : reservation.placement) send_reserve(reservation, part);
    }
  }
  for (const auto& job : over) state_.reservations.erase(job);
  if (!over.empty()) look_again();
}

/// False while the store is away.
bool FleetReconciler::start_reserved(const GangReservation& reservation, int64_t now_ms) {
  const auto job = store_.get(reservation.id.job);
  if (!job && !decided(job.error())) return false;
  const bool waits =
      job && job->phase == JobPhase::kQueued && job->attempt + 1 == reservation.id.attempt;
  if (!waits) {
    release(reservation);
    return true;
  }
  const bool asked = start(*job, reservation.placement, now_ms);
  if (asked && !state_.gangs.contains(job->id)) release(reservation);
  return asked;
}

void FleetReconciler::release(const GangReservation& reservation) {
  for (const GangPart& part : reservation.placement) {
    const auto agent = state_.agents.find(part.host);
    if (agent != state_.agents.end()) send_release(reservation.id, agent->second.peer);
  }
}

/// The queue tells only what a plan needs: the whole job is read once it starts.
bool FleetReconciler::start_waiting(const JobRecord& waiting, const Placement& placement,
                                    int64_t now_ms) {
  const auto job = store_.get(waiting.id);
  if (!job && !decided(job.error())) return false;
  if (job && job->phase == JobPhase::kQueued && job->attempt == waiting.attempt) {
    return start(*job, placement, now_ms);
  }
  look_again();
  return true;
}

/// False when the store is away: the rest of the plan waits too.
bool FleetReconciler::start(const JobRecord& job, const Placement& placement, int64_t now_ms) {
  const auto directory = options_.prepare(job);
  if (!directory) {
    refuse_start(job, directory.error());
    return !store_away_;
  }
  const int64_t ranks = ranks_of(placement);
  const auto started = store_.transition(
      job.id, job.attempt, JobPhase::kQueued, JobPhase::kRunning,
      {.leader = options_.leader,
       .placement = placement,
       .event_message = start_message(job, placement),
       .event_data = {
           {"attempt", job.attempt + 1}, {"placement", to_json(placement)}, {"workers", ranks}}});
  if (!started) {
    look_again();
    return decided(started.error());  // A conflict: cancelled in the meantime.
  }
  GangState& gang = state_.gangs[job.id];
  gang = GangState{.id = {job.id, started->attempt},
                   .placement = placement,
                   .stop = started->stop,
                   .known_since_ms = now_ms};
  log::info(fmt::format("job {} attempt {}: {}", job.id, started->attempt,
                        start_message(job, placement)));
  send_start(gang, state_.agents.at(gang.lead()), now_ms);
  return true;
}

void FleetReconciler::refuse_start(const JobRecord& job, const Error& error) {
  const auto stored =
      store_.transition(job.id, job.attempt, JobPhase::kQueued, JobPhase::kFailed,
                        {.leader = options_.leader,
                         .error = error,
                         .event_level = "error",
                         .event_message = "The job could not be started: " + error.message});
  if (stored || decided(stored.error())) look_again();
}

}  // namespace tunefleet::coordinator

#include "coordinator/fleet/fleet_reconciler.h"

#include <fmt/format.h>

#include <string_view>
#include <unordered_map>
#include <utility>

#include "coordinator/queue/job_rules.h"
#include "proto/log.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kTickMs = 1'000;
constexpr int64_t kRereadMs =
    5'000;  ///< Another API server may have changed the queue without waking this one.
constexpr uint32_t kStrangerGraceMs = 2'000;

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

std::string stop_words(const GangState& gang) {
  return gang.condemned ? gang.condemned->message
                        : fmt::format("asked to stop: {}", stop_reason_name(gang.stop));
}

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

void FleetReconciler::serve_gangs(int64_t now_ms) {
  std::vector<std::pair<GangId, AttemptFailure>> given_up;
  for (auto& [job, gang] : state_.gangs) {
    stop_hanging(gang, now_ms);
    switch (const GangNeed need = need_of(gang, state_, options_.times, now_ms)) {
      case GangNeed::kNothing:
        break;
      case GangNeed::kStart:
        send_start(gang, state_.agents.at(gang.lead()), now_ms);
        break;
      case GangNeed::kStop:
        gang.stop_sent_ms = now_ms;
        if (gang.first_start_ms == 0) gang.first_start_ms = now_ms;
        send_stop(gang.id, state_.agents.at(gang.lead()).peer, stop_words(gang));
        break;
      case GangNeed::kFailNotStarted:
      case GangNeed::kFailMissing:
      case GangNeed::kFailAgentLost: {
        const std::string silent = silent_host(gang, state_);
        given_up.emplace_back(
            gang.id, failure_of_need(need, silent.empty() ? gang.lead() : silent, options_.times));
      }
    }
  }
  for (const auto& [id, failure] : given_up) give_up(id, failure);
}

void FleetReconciler::give_up(const GangId& id, const AttemptFailure& failure) {
  const bool settled = settle(id, [&](const JobRecord& job) {
    return outcome_of(failure, job, options_.retries, options_.unix_ms());
  });
  if (settled) look_again();
}

/// A gang that makes no progress while its agents are well is stopped, and fails with the rank to
/// blame once it has ended.
void FleetReconciler::stop_hanging(GangState& gang, int64_t now_ms) {
  if (gang.condemned || gang.stop != StopReason::kNone || !silent_host(gang, state_).empty()) {
    return;
  }
  const auto hung = gang.progress.hung(options_.times.hang, now_ms);
  if (!hung) return;
  gang.condemned = AttemptFailure{
      .code = ErrorCode::kTimeout,
      .host = hung->host,
      .message = fmt::format("rank {} on {} hangs: {}", hung->rank, hung->host, hung->message)};
  log::warning(fmt::format("job {} attempt {}: {}, stopping the gang", gang.id.job, gang.id.attempt,
                           gang.condemned->message));
}

void FleetReconciler::stop_strangers(int64_t now_ms) {
  std::map<GangId, int64_t> stopped;
  for (const auto& [host, agent] : state_.agents) {
    if (!agent.alive) continue;
    for (const auto& [id, role] : strangers_on(state_, agent)) {
      const auto earlier = strangers_stopped_.find(id);
      const bool due = earlier == strangers_stopped_.end() ||
                       now_ms - earlier->second >= options_.times.resend_stop;
      stopped[id] = due ? now_ms : earlier->second;
      if (!due) continue;
      if (role == GangRole::kLead) {
        send_stop(id, agent.peer, "the coordinator no longer runs this attempt");
      } else {
        send_release(id, agent.peer);
      }
    }
  }
  strangers_stopped_ = std::move(stopped);
}

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

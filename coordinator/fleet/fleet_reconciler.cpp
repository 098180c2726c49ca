#include "coordinator/fleet/fleet_reconciler.h"

#include <fmt/format.h>

#include <utility>

#include "coordinator/launch/run_directory.h"
#include "proto/log.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kTickMs = 1'000;
constexpr int64_t kRereadMs =
    5'000;  ///< Another API server may have changed the queue without waking this one.
constexpr uint32_t kStrangerGraceMs = 2'000;

}  // namespace

FleetReconciler::FleetReconciler(JobStore& store, ReconcilerOptions options, Send send)
    : store_(store), options_(std::move(options)), send_(std::move(send)) {}

bool FleetReconciler::decided(const Error& error) {
  switch (error.code) {
    case ErrorCode::kConflict:
    case ErrorCode::kNotFound:
    case ErrorCode::kInvalidArgument:
      return true;
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
    case wire::Envelope::kRankBeat:
      take_rank_beat(envelope);
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
  const auto job = store_.get(id.job);
  const bool current = job && job->phase == JobPhase::kRunning && job->attempt == id.attempt;
  const bool settled =
      job ? !current || settle(id, outcome_of(ended, job->cancel_requested)) : decided(job.error());
  if (!settled) {
    const auto gang = state_.gangs.find(id.job);
    if (gang != state_.gangs.end() && gang->second.id == id) gang->second.end_heard_ms = now_ms;
    return;  // Not acknowledged: the agent sends it again.
  }
  acknowledge(peer, envelope);
  look_again();
}

bool FleetReconciler::settle(const GangId& id, const GangOutcome& outcome) {
  const auto stored =
      store_.transition(id.job, id.attempt, JobPhase::kRunning, outcome.phase, outcome.change);
  if (!stored && !decided(stored.error())) return false;
  log::info(stored ? fmt::format("job {} attempt {}: {}", id.job, id.attempt,
                                 outcome.change.event_message)
                   : fmt::format("job {} attempt {} had ended already: {}", id.job, id.attempt,
                                 stored.error().message));
  const auto gang = state_.gangs.find(id.job);
  if (gang != state_.gangs.end() && gang->second.id == id) state_.gangs.erase(gang);
  progress_.erase(id.job);
  return true;
}

void FleetReconciler::take_rank_beat(const wire::Envelope& envelope) {
  const auto& beat = envelope.rank_beat();
  const auto gang = state_.gangs.find(beat.job());
  if (beat.rank() != 0 || gang == state_.gangs.end() ||
      gang->second.id.attempt != static_cast<int64_t>(beat.attempt())) {
    return;
  }
  progress_[beat.job()] = {gang->second.id.attempt, progress_of(beat)};
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
    log::warning("agent is silent, its jobs have 30 seconds: " + host);
    look_again();
  }
  flush_progress();
  if (queue_changed_ || store_away_ || now_ms - queue_read_ms_ >= kRereadMs) {
    queue_changed_ = false;
    if (!read_queue(now_ms)) queue_changed_ = true;
  }
  if (!queue_read_) return;
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
  start_planned(*queued, now_ms);
  return !store_away_;
}

void FleetReconciler::start_planned(const std::vector<JobRecord>& queued, int64_t now_ms) {
  PlanInput input{.agents = offered_slots(state_)};
  std::map<std::string, const JobRecord*> by_id;
  for (const auto& job : queued) {
    input.waiting.push_back({.id = job.id, .workers = job.workers, .priority = job.priority});
    by_id[job.id] = &job;
  }
  const Plan decided = plan(input);
  positions_.clear();
  for (const auto& wait : decided.waits) positions_[wait.job] = {wait.position, wait.reason};
  for (const auto& planned : decided.starts) {
    if (!start(*by_id.at(planned.job), planned.host, now_ms)) return;
  }
}

/// False when the store is away: the rest of the plan waits too.
bool FleetReconciler::start(const JobRecord& job, const std::string& host, int64_t now_ms) {
  const auto directory = prepare_run_directory(options_.jobs_directory, job.id, job.spec);
  if (!directory) {
    refuse_start(job, directory.error());
    return !store_away_;
  }
  const int64_t attempt = job.attempt + 1;
  const auto started = store_.transition(
      job.id, job.attempt, JobPhase::kQueued, JobPhase::kRunning,
      {.agent = host,
       .event_message = fmt::format("Job started: {} {} on {}", job.workers,
                                    job.workers == 1 ? "rank" : "ranks", host),
       .event_data = {{"attempt", attempt}, {"host", host}, {"workers", job.workers}}});
  if (!started) {
    look_again();
    return decided(started.error());  // A conflict: cancelled in the meantime.
  }
  GangState& gang = state_.gangs[job.id];
  gang = GangState{.id = {job.id, started->attempt},
                   .host = host,
                   .workers = job.workers,
                   .cancel_requested = started->cancel_requested,
                   .known_since_ms = now_ms};
  log::info(fmt::format("job {} attempt {}: starting {} ranks on {}", job.id, started->attempt,
                        job.workers, host));
  send_start(gang, state_.agents.at(host), now_ms);
  return true;
}

void FleetReconciler::refuse_start(const JobRecord& job, const Error& error) {
  const auto stored =
      store_.transition(job.id, job.attempt, JobPhase::kQueued, JobPhase::kFailed,
                        {.error = error,
                         .event_level = "error",
                         .event_message = "The job could not be started: " + error.message});
  if (stored || decided(stored.error())) look_again();
}

void FleetReconciler::serve_gangs(int64_t now_ms) {
  std::vector<std::pair<GangId, GangOutcome>> given_up;
  for (auto& [job, gang] : state_.gangs) {
    const auto found = state_.agents.find(gang.host);
    const AgentState* agent = found == state_.agents.end() ? nullptr : &found->second;
    switch (const GangNeed need = need_of(gang, agent, options_.times, now_ms)) {
      case GangNeed::kNothing:
        break;
      case GangNeed::kStart:
        send_start(gang, *agent, now_ms);
        break;
      case GangNeed::kStop:
        gang.stop_sent_ms = now_ms;
        if (gang.first_start_ms == 0) gang.first_start_ms = now_ms;
        send_stop(gang.id, agent->peer, "cancelled");
        break;
      case GangNeed::kFailNotStarted:
      case GangNeed::kFailMissing:
      case GangNeed::kFailAgentLost:
        given_up.emplace_back(gang.id, outcome_of(need, gang, options_.times));
    }
  }
  for (const auto& [id, outcome] : given_up) {
    if (settle(id, outcome)) look_again();
  }
}

void FleetReconciler::stop_strangers(int64_t now_ms) {
  std::map<GangId, int64_t> stopped;
  for (const auto& [host, agent] : state_.agents) {
    if (!agent.alive) continue;
    for (const auto& id : strangers_on(state_, agent)) {
      const auto earlier = strangers_stopped_.find(id);
      const bool due = earlier == strangers_stopped_.end() ||
                       now_ms - earlier->second >= options_.times.resend_stop;
      stopped[id] = due ? now_ms : earlier->second;
      if (due) send_stop(id, agent.peer, "the coordinator no longer runs this attempt");
    }
  }
  strangers_stopped_ = std::move(stopped);
}

void FleetReconciler::send_start(GangState& gang, const AgentState& agent, int64_t now_ms) {
  gang.start_sent_ms = now_ms;
  if (gang.first_start_ms == 0) gang.first_start_ms = now_ms;
  std::error_code error;
  const auto directory = std::filesystem::absolute(options_.jobs_directory, error) / gang.id.job;
  wire::Envelope envelope;
  auto& start = *envelope.mutable_start_gang();
  start.set_job(gang.id.job);
  start.set_attempt(static_cast<uint64_t>(gang.id.attempt));
  start.set_ranks(static_cast<uint32_t>(gang.workers));
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
  stop.set_grace_ms(ours ? static_cast<uint32_t>(options_.stop_grace_ms) : kStrangerGraceMs);
  stop.set_reason(reason);
  send_(peer, std::move(envelope));
}

}  // namespace tunefleet::coordinator

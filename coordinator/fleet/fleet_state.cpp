#include "coordinator/fleet/fleet_state.h"

#include <algorithm>

#include "coordinator/queue/job_rules.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

GangRole role_of(wire::GangRole role) {
  switch (role) {
    case wire::GANG_MEMBER:
      return GangRole::kMember;
    case wire::GANG_RESERVED:
      return GangRole::kReserved;
    default:
      return GangRole::kLead;
  }
}

int64_t ranks_on(const Placement& placement, const std::string& host) {
  int64_t ranks = 0;
  for (const GangPart& part : placement) {
    if (part.host == host) ranks += part.ranks;
  }
  return ranks;
}

int64_t taken_slots(const FleetState& state, const std::string& host) {
  int64_t taken = 0;
  for (const auto& [job, gang] : state.gangs) taken += ranks_on(gang.placement, host);
  for (const auto& [job, reservation] : state.reservations) {
    taken += ranks_on(reservation.placement, host);
  }
  return taken;
}

int64_t free_slots(const FleetState& state, const AgentState& agent) {
  return std::max<int64_t>(0, agent.slots - taken_slots(state, agent.host));
}

void note_listed(GangState& gang, bool listed, int64_t now_ms) {
  gang.listed = listed;
  gang.was_listed = gang.was_listed || listed;
  if (listed) {
    gang.missing_since_ms = 0;
  } else if (gang.missing_since_ms == 0) {
    gang.missing_since_ms = now_ms;
  }
}

bool leads(const AgentState& agent, const GangId& id) {
  const auto found = agent.gangs.find(id);
  return found != agent.gangs.end() && found->second == GangRole::kLead;
}

void note_granted(FleetState& state, const AgentState& agent) {
  for (auto& [job, reservation] : state.reservations) {
    if (agent.gangs.contains(reservation.id)) {
      reservation.granted.insert(agent.host);
    } else {
      reservation.granted.erase(agent.host);
    }
  }
}

GangState adopted(const JobRecord& job, const FleetState& state, int64_t now_ms) {
  GangState gang{.id = {job.id, job.attempt}, .placement = job.placement, .known_since_ms = now_ms};
  const auto agent = state.agents.find(gang.lead());
  if (agent != state.agents.end() && agent->second.alive) {
    note_listed(gang, leads(agent->second, gang.id), now_ms);
  }
  return gang;
}

/// Whether the rest of the fleet has room for the gang once its own slots are gone with `lost`.
bool can_run_without(const std::string& lost, const GangState& gang, const FleetState& state) {
  int64_t slots = 0;
  for (const auto& [host, agent] : state.agents) {
    if (agent.alive && host != lost) slots += agent.slots;
  }
  return slots >= ranks_of(gang.placement);
}

/// An agent of the gang that is away for too long.
bool is_lost(const GangState& gang, const std::string& host, const FleetState& state,
             const FleetTimes& times, int64_t now_ms) {
  const auto found = state.agents.find(host);
  if (found == state.agents.end()) return now_ms - gang.known_since_ms > times.adoption_grace;
  if (found->second.alive) return false;
  const int64_t grace =
      can_run_without(host, gang, state) ? times.agent_lost_grace : times.sole_agent_grace;
  const int64_t silent_ms = now_ms - std::max(found->second.last_beat_ms, gang.known_since_ms);
  return silent_ms > times.agent_dead + grace;
}

GangNeed need_at_lead(const GangState& gang, const FleetTimes& times, int64_t now_ms) {
  const bool missing_too_long = gang.was_listed && gang.missing_since_ms != 0 &&
                                now_ms - gang.missing_since_ms > times.missing_limit;
  if (missing_too_long) return GangNeed::kFailMissing;
  if (!gang.was_listed && gang.first_start_ms != 0 &&
      now_ms - gang.first_start_ms > times.start_limit) {
    return GangNeed::kFailNotStarted;
  }
  if (gang.stop != StopReason::kNone || gang.condemned) {
    const bool due = gang.stop_sent_ms == 0 || now_ms - gang.stop_sent_ms >= times.resend_stop;
    return due ? GangNeed::kStop : GangNeed::kNothing;
  }
  if (gang.listed) return GangNeed::kNothing;
  const bool due = gang.start_sent_ms == 0 || now_ms - gang.start_sent_ms >= times.resend_start;
  return due ? GangNeed::kStart : GangNeed::kNothing;
}

}  // namespace

bool take_beat(FleetState& state, const std::string& peer, const wire::AgentBeat& beat,
               int64_t now_ms) {
  AgentState& agent = state.agents[beat.host()];
  const bool news = !agent.alive || agent.slots != beat.slots() ||
                    agent.gangs.size() != static_cast<size_t>(beat.gangs_size());
  agent.host = beat.host();
  agent.peer = peer;
  agent.slots = beat.slots();
  agent.cuda = beat.cuda();
  agent.alive = true;
  agent.last_beat_ms = now_ms;
  agent.gangs.clear();
  for (const auto& gang : beat.gangs()) {
    agent.gangs[{gang.job(), static_cast<int64_t>(gang.attempt())}] = role_of(gang.role());
  }
  for (auto& [job, gang] : state.gangs) {
    if (gang.lead() == agent.host) note_listed(gang, leads(agent, gang.id), now_ms);
  }
  note_granted(state, agent);
  return news;
}

std::vector<std::string> find_dead_agents(FleetState& state, const FleetTimes& times,
                                          int64_t now_ms, int64_t stalled_ms) {
  std::vector<std::string> dead;
  for (auto& [host, agent] : state.agents) {
    agent.last_beat_ms = std::min(now_ms, agent.last_beat_ms + stalled_ms);
    if (!agent.alive || now_ms - agent.last_beat_ms <= times.agent_dead) continue;
    agent.alive = false;
    dead.push_back(host);
  }
  if (stalled_ms > 0) {
    for (auto& [job, gang] : state.gangs) gang.progress.forgive(stalled_ms);
  }
  return dead;
}

void take_running(FleetState& state, const std::vector<JobRecord>& running, int64_t now_ms) {
  std::map<std::string, GangState> gangs;
  for (const auto& job : running) {
    const auto known = state.gangs.find(job.id);
    const bool ours = known != state.gangs.end() && known->second.id == GangId{job.id, job.attempt};
    GangState& gang = gangs[job.id];
    gang = ours ? std::move(known->second) : adopted(job, state, now_ms);
    gang.stop = job.stop;
  }
  state.gangs = std::move(gangs);
}

GangNeed need_of(const GangState& gang, const FleetState& state, const FleetTimes& times,
                 int64_t now_ms) {
  if (gang.end_heard_ms != 0 && now_ms - gang.end_heard_ms < times.end_patience) {
    return GangNeed::kNothing;
  }
  for (const GangPart& part : gang.placement) {
    if (is_lost(gang, part.host, state, times, now_ms)) return GangNeed::kFailAgentLost;
  }
  const auto lead = state.agents.find(gang.lead());
  if (lead == state.agents.end() || !lead->second.alive) return GangNeed::kNothing;
  return need_at_lead(gang, times, now_ms);
}

std::string silent_host(const GangState& gang, const FleetState& state) {
  const AgentState* longest = nullptr;
  for (const GangPart& part : gang.placement) {
    const auto agent = state.agents.find(part.host);
    if (agent == state.agents.end()) return part.host;
    if (agent->second.alive) continue;
    if (longest == nullptr || agent->second.last_beat_ms < longest->last_beat_ms) {
      longest = &agent->second;
    }
  }
  return longest == nullptr ? "" : longest->host;
}

std::map<GangId, GangRole> strangers_on(const FleetState& state, const AgentState& agent) {
  std::map<GangId, GangRole> strangers;
  for (const auto& [id, role] : agent.gangs) {
    const auto gang = state.gangs.find(id.job);
    const bool runs = gang != state.gangs.end() && gang->second.id == id &&
                      ranks_on(gang->second.placement, agent.host) > 0 &&
                      (role != GangRole::kLead || gang->second.lead() == agent.host);
    const auto kept = state.reservations.find(id.job);
    const bool reserved =
        role == GangRole::kReserved && kept != state.reservations.end() && kept->second.id == id;
    if (!runs && !reserved) strangers[id] = role;
  }
  return strangers;
}

std::vector<AgentSlots> offered_slots(const FleetState& state) {
  std::vector<AgentSlots> offers;
  for (const auto& [host, agent] : state.agents) {
    if (!agent.alive) continue;
    const bool clean = strangers_on(state, agent).empty();
    offers.push_back(
        {.host = host, .slots = agent.slots, .free_slots = clean ? free_slots(state, agent) : 0});
  }
  return offers;
}

std::vector<AgentView> agent_views(const FleetState& state) {
  std::vector<AgentView> views;
  for (const auto& [host, agent] : state.agents) {
    AgentView view{.host = host, .slots = agent.slots, .cuda = agent.cuda, .alive = agent.alive};
    view.free_slots = free_slots(state, agent);
    for (const auto& [job, gang] : state.gangs) {
      if (ranks_on(gang.placement, host) > 0) view.jobs.push_back(job);
    }
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace tunefleet::coordinator

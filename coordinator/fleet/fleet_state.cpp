#include "coordinator/fleet/fleet_state.h"

#include <algorithm>

#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

int64_t taken_slots(const FleetState& state, const std::string& host) {
  int64_t taken = 0;
  for (const auto& [job, gang] : state.gangs) {
    if (gang.host == host) taken += gang.workers;
  }
  return taken;
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
    agent.gangs.push_back({gang.job(), static_cast<int64_t>(gang.attempt())});
  }
  for (auto& [job, gang] : state.gangs) {
    if (gang.host != agent.host) continue;
    note_listed(gang, std::ranges::find(agent.gangs, gang.id) != agent.gangs.end(), now_ms);
  }
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
  return dead;
}

void take_running(FleetState& state, const std::vector<JobRecord>& running, int64_t now_ms) {
  std::map<std::string, GangState> gangs;
  for (const auto& job : running) {
    const GangId id{job.id, job.attempt};
    const auto known = state.gangs.find(job.id);
    GangState gang;
    if (known != state.gangs.end() && known->second.id == id) {
      gang = known->second;
    } else {
      gang.id = id;
      gang.host = job.agent;
      gang.workers = job.workers;
      gang.known_since_ms = now_ms;
      const auto agent = state.agents.find(job.agent);
      if (agent != state.agents.end() && agent->second.alive) {
        const auto& listed = agent->second.gangs;
        note_listed(gang, std::ranges::find(listed, id) != listed.end(), now_ms);
      }
    }
    gang.cancel_requested = job.cancel_requested;
    gangs[job.id] = std::move(gang);
  }
  state.gangs = std::move(gangs);
}

GangNeed need_of(const GangState& gang, const AgentState* agent, const FleetTimes& times,
                 int64_t now_ms) {
  if (gang.end_heard_ms != 0 && now_ms - gang.end_heard_ms < times.end_patience) {
    return GangNeed::kNothing;
  }
  if (agent == nullptr) {
    return now_ms - gang.known_since_ms > times.adoption_grace ? GangNeed::kFailAgentLost
                                                               : GangNeed::kNothing;
  }
  if (!agent->alive) {
    const int64_t silent_ms = now_ms - std::max(agent->last_beat_ms, gang.known_since_ms);
    return silent_ms > times.agent_dead + times.agent_lost_grace ? GangNeed::kFailAgentLost
                                                                 : GangNeed::kNothing;
  }
  const bool missing_too_long = gang.was_listed && gang.missing_since_ms != 0 &&
                                now_ms - gang.missing_since_ms > times.missing_limit;
  if (missing_too_long) return GangNeed::kFailMissing;
  if (!gang.was_listed && gang.first_start_ms != 0 &&
      now_ms - gang.first_start_ms > times.start_limit) {
    return GangNeed::kFailNotStarted;
  }
  if (gang.cancel_requested) {
    const bool due = gang.stop_sent_ms == 0 || now_ms - gang.stop_sent_ms >= times.resend_stop;
    return due ? GangNeed::kStop : GangNeed::kNothing;
  }
  if (gang.listed) return GangNeed::kNothing;
  const bool due = gang.start_sent_ms == 0 || now_ms - gang.start_sent_ms >= times.resend_start;
  return due ? GangNeed::kStart : GangNeed::kNothing;
}

std::vector<GangId> strangers_on(const FleetState& state, const AgentState& agent) {
  std::vector<GangId> strangers;
  for (const auto& id : agent.gangs) {
    const auto known = state.gangs.find(id.job);
    const bool ours =
        known != state.gangs.end() && known->second.id == id && known->second.host == agent.host;
    if (!ours) strangers.push_back(id);
  }
  return strangers;
}

std::vector<AgentSlots> offered_slots(const FleetState& state) {
  std::vector<AgentSlots> offers;
  for (const auto& [host, agent] : state.agents) {
    if (!agent.alive) continue;
    const int64_t free_slots = std::max<int64_t>(0, agent.slots - taken_slots(state, host));
    offers.push_back({.host = host,
                      .slots = agent.slots,
                      .free_slots = strangers_on(state, agent).empty() ? free_slots : 0});
  }
  return offers;
}

std::vector<AgentView> agent_views(const FleetState& state) {
  std::vector<AgentView> views;
  for (const auto& [host, agent] : state.agents) {
    AgentView view{.host = host, .slots = agent.slots, .cuda = agent.cuda, .alive = agent.alive};
    view.free_slots = std::max<int64_t>(0, agent.slots - taken_slots(state, host));
    for (const auto& [job, gang] : state.gangs) {
      if (gang.host == host) view.jobs.push_back(job);
    }
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace tunefleet::coordinator

#include <fmt/format.h>

#include <utility>

#include "coordinator/fleet/fleet_reconciler.h"
#include "proto/log.h"

namespace tunefleet::coordinator {
// Gangs that run, or should not: sent again, stopped, given up.

namespace {

std::string stop_words(const GangState& gang) {
  return gang.condemned ? gang.condemned->message
                        : fmt::format("asked to stop: {}", stop_reason_name(gang.stop));
}

}  // namespace

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

}  // namespace tunefleet::coordinator

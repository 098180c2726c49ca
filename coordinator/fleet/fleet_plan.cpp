#include "coordinator/fleet/fleet_plan.h"

#include <algorithm>
#include <cmath>

namespace tunefleet::coordinator {
namespace {

constexpr double kLongestEstimateS = 1e8;

double number_in(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

int64_t ms_of(double seconds) {
  return seconds > 0 && seconds < kLongestEstimateS ? static_cast<int64_t>(seconds * 1000) : 0;
}

/// Hosts that a job avoids, unless the rest of the fleet could not hold it: the only machine there
/// is gets another chance.
std::vector<std::string> avoided_hosts(const JobRecord& job, const FleetState& state) {
  if (job.excluded_hosts.empty()) return {};
  int64_t slots = 0;
  for (const auto& [host, agent] : state.agents) {
    if (agent.alive && std::ranges::find(job.excluded_hosts, host) == job.excluded_hosts.end()) {
      slots += agent.slots;
    }
  }
  return slots >= job.min_workers ? job.excluded_hosts : std::vector<std::string>{};
}

WaitingJob waiting(const JobRecord& job, const FleetState& state) {
  return {.id = job.id,
          .tenant = job.owner,
          .min_workers = job.min_workers,
          .max_workers = job.max_workers,
          .priority = job.priority,
          .submitted_at_ms = job.created_at_ms,
          .queued_at_ms = job.queued_at_ms,
          .not_before_ms = job.not_before_ms,
          .excluded_hosts = avoided_hosts(job, state),
          .expected_ms = ms_of(number_in(job.spec, "max_minutes") * 60)};
}

/// The width a gang that stops to be resized goes on with. An earlier coordinator's choice is not
/// known: at least its smallest.
int64_t resizing_to(const JobRecord& job, const FleetState& state) {
  if (job.stop != StopReason::kResize) return 0;
  const auto gang = state.gangs.find(job.id);
  const int64_t chosen = gang == state.gangs.end() ? 0 : gang->second.resize_to;
  return chosen > 0 ? chosen : job.min_workers;
}

RunningJob running_job(const JobRecord& job, const FleetState& state, int64_t unix_ms) {
  const int64_t left_ms = ms_of(number_in(job.progress, "remaining_s"));
  return {.id = job.id,
          .tenant = job.owner,
          .priority = job.priority,
          .min_workers = job.min_workers,
          .max_workers = job.max_workers,
          .placement = job.placement,
          .started_at_ms = job.started_at_ms,
          .expected_end_ms = left_ms > 0 ? unix_ms + left_ms : 0,
          .stopping = job.stop != StopReason::kNone,
          .resizing_to = resizing_to(job, state)};
}

}  // namespace

void TenantUsage::take(const std::vector<JobRecord>& running, int64_t window_ms, int64_t now_ms) {
  const auto passed = taken_ms_ == 0 ? 0.0 : static_cast<double>(now_ms - taken_ms_);
  taken_ms_ = now_ms;
  const double kept = std::exp(-passed / static_cast<double>(window_ms));
  for (auto& [tenant, used] : used_ms_) used *= kept;
  for (const JobRecord& job : running) {
    used_ms_[job.owner] += passed * static_cast<double>(job.workers);
  }
}

std::vector<TenantPolicy> TenantUsage::policies(const std::vector<TenantPolicy>& given) const {
  std::vector<TenantPolicy> policies = given;
  for (const auto& [tenant, used] : used_ms_) {
    auto policy = std::ranges::find(policies, tenant, &TenantPolicy::tenant);
    if (policy == policies.end()) policy = policies.insert(policies.end(), {.tenant = tenant});
    policy->used_device_ms = used;
  }
  return policies;
}

PlanInput plan_input_of(const FleetState& state, const std::vector<JobRecord>& queued,
                        const std::vector<JobRecord>& running, std::vector<TenantPolicy> tenants,
                        const PlanPolicy& policy, int64_t unix_ms) {
  PlanInput input{.now_ms = unix_ms,
                  .agents = offered_slots(state),
                  .tenants = std::move(tenants),
                  .policy = policy};
  for (const JobRecord& job : queued) {
    if (!state.reservations.contains(job.id)) input.waiting.push_back(waiting(job, state));
  }
  for (const JobRecord& job : running) input.running.push_back(running_job(job, state, unix_ms));
  return input;
}

}  // namespace tunefleet::coordinator

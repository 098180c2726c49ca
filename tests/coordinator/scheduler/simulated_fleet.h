#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "coordinator/scheduler/planner.h"

namespace tunefleet::coordinator {

/// Carries plans out in a world without failures: jobs run as long as expected (as run_until() says
/// where the planner is not told), stopping jobs take as long as the policy says and wait again.
class SimulatedFleet {
 public:
  SimulatedFleet(std::vector<AgentSlots> agents, PlanPolicy policy) {
    world_.agents = std::move(agents);
    world_.policy = policy;
  }

  PlanInput& world() { return world_; }
  int64_t now_ms() const { return world_.now_ms; }
  /// When each job first started.
  const std::map<std::string, int64_t>& started() const { return started_; }
  int64_t stops() const { return stops_; }
  /// Device time each tenant has used.
  double used_device_ms(const std::string& tenant) { return used_[tenant]; }

  void submit(WaitingJob job) {
    job.submitted_at_ms = world_.now_ms;
    world_.waiting.push_back(std::move(job));
  }
  /// A running job, on slots that the agents count as taken; it ends at `ends_at_ms` in truth.
  void run_until(RunningJob job, int64_t ends_at_ms) {
    ends_[job.id] = ends_at_ms;
    jobs_[job.id] = {.id = job.id,
                     .tenant = job.tenant,
                     .min_workers = job.min_workers,
                     .max_workers = job.max_workers,
                     .priority = job.priority};
    world_.running.push_back(std::move(job));
  }

  /// Plans and does what the plan says.
  Plan plan_once() {
    const Plan decided = plan(world_);
    carry_out(decided);
    return decided;
  }

  void carry_out(const Plan& decided) {
    for (const auto& planned : decided.starts) start(planned);
    for (const auto& planned : decided.stops) {
      RunningJob& job = *std::ranges::find(world_.running, planned.job, &RunningJob::id);
      job.stopping = true;
      job.resizing_to = planned.new_size;
      stopped_at_[job.id] = world_.now_ms + world_.policy.stop_takes_ms;
      ++stops_;
    }
  }

  /// To the next moment at which a job ends or has stopped, but by at most `limit_ms`.
  void pass_time(int64_t limit_ms) {
    int64_t until_ms = world_.now_ms + limit_ms;
    for (const auto& job : world_.running) until_ms = std::min(until_ms, leaves_at(job));
    const int64_t passed_ms = until_ms - world_.now_ms;
    world_.now_ms = until_ms;
    for (const auto& job : world_.running) {
      for (const auto& part : job.placement) {
        used_[job.tenant] += static_cast<double>(part.ranks * passed_ms);
      }
    }
    std::erase_if(world_.running, [this](const RunningJob& job) { return leave_if_due(job); });
  }

 private:
  void start(const PlannedStart& planned) {
    const auto found = std::ranges::find(world_.waiting, planned.job, &WaitingJob::id);
    const WaitingJob job = *found;
    world_.waiting.erase(found);
    const int64_t end_ms = job.expected_ms == 0 ? 0 : world_.now_ms + job.expected_ms;
    world_.running.push_back({.id = job.id,
                              .tenant = job.tenant,
                              .priority = job.priority,
                              .min_workers = job.min_workers,
                              .max_workers = job.max_workers,
                              .placement = planned.placement,
                              .started_at_ms = world_.now_ms,
                              .expected_end_ms = end_ms});
    move_slots(planned.placement, -1);
    if (end_ms != 0) ends_[job.id] = end_ms;
    jobs_[job.id] = job;
    started_.try_emplace(job.id, world_.now_ms);
  }

  int64_t leaves_at(const RunningJob& job) const {
    const auto end = ends_.find(job.id);
    const auto stop = stopped_at_.find(job.id);
    const int64_t never = std::numeric_limits<int64_t>::max();
    return std::min(end == ends_.end() ? never : end->second,
                    stop == stopped_at_.end() ? never : stop->second);
  }

  bool leave_if_due(const RunningJob& job) {
    if (leaves_at(job) > world_.now_ms) return false;
    move_slots(job.placement, 1);
    const auto end = ends_.find(job.id);
    const bool ended = end != ends_.end() && end->second <= world_.now_ms;
    if (!ended) {
      WaitingJob again = jobs_.at(job.id);
      again.queued_at_ms = world_.now_ms;
      world_.waiting.push_back(std::move(again));
    }
    ends_.erase(job.id);
    stopped_at_.erase(job.id);
    return true;
  }

  void move_slots(const Placement& placement, int64_t sign) {
    for (const auto& part : placement) {
      const auto agent = std::ranges::find(world_.agents, part.host, &AgentSlots::host);
      if (agent != world_.agents.end()) agent->free_slots += sign * part.ranks;
    }
  }

  PlanInput world_;
  std::map<std::string, WaitingJob> jobs_;
  std::map<std::string, int64_t> started_;
  std::map<std::string, int64_t> ends_;
  std::map<std::string, int64_t> stopped_at_;
  std::map<std::string, double> used_;
  int64_t stops_ = 0;
};

}  // namespace tunefleet::coordinator

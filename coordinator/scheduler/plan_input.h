#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/queue/placement.h"

namespace tunefleet::coordinator {

/// An agent the planner may use: alive, and nothing on it that the coordinator does not know.
struct AgentSlots {
  std::string host{};  ///< Unique in a PlanInput.
  int64_t slots = 0;
  int64_t free_slots = 0;  ///< 0 <= free_slots <= slots.
};

/// A job that waits. Between jobs with equal claims the older submission is first, then the one
/// named first in PlanInput::waiting. Times are Unix milliseconds.
struct WaitingJob {
  std::string id{};
  std::string tenant{};
  int64_t min_workers = 1;
  int64_t max_workers = 1;  ///< Above min_workers: elastic, any width between will do.
  int64_t priority = 0;
  int64_t submitted_at_ms = 0;
  int64_t queued_at_ms = 0;   ///< Since when it waits this time; 0: since its submission.
  int64_t not_before_ms = 0;  ///< Pause after a failed attempt; 0: none.
  std::vector<std::string> excluded_hosts{};  ///< Not to be used for it.
  int64_t expected_ms = 0;                    ///< How long it will run; 0: unknown.
};

/// A job that holds slots. Slots on hosts that are not among the agents count for its tenant only.
struct RunningJob {
  std::string id{};
  std::string tenant{};
  int64_t priority = 0;
  int64_t min_workers = 1;
  int64_t max_workers = 1;
  Placement placement{};
  int64_t started_at_ms = 0;
  int64_t expected_end_ms = 0;  ///< 0: unknown. In the past: it is overdue, and may end any moment.
  bool preemptible = true;      ///< May be stopped, and go on later from its checkpoint.
  bool stopping = false;        ///< Asked to stop: its slots are still taken, but come free soon.
  int64_t resizing_to = 0;      ///< While stopping: the width it is to go on with; 0: it is to end.
};

/// What a tenant may use. A tenant without a policy has the defaults.
struct TenantPolicy {
  std::string tenant{};
  double weight = 1.0;          ///< Share of the fleet relative to the others', > 0.
  int64_t max_slots = 0;        ///< Slots in use at once; 0: no limit.
  double used_device_ms = 0.0;  ///< Past use, decayed by the caller; running jobs' use included.
};

/// How the planner weighs things. The same for all jobs.
struct PlanPolicy {
  double ageing_per_hour = 2.0;  ///< Points of priority a job gains by waiting an hour.
  int64_t usage_window_ms =
      3'600'000;            ///< Past use counts as its average over this time, in slots.
  bool span_agents = true;  ///< A gang may use several agents.
  bool preemption = true;
  int64_t preemption_margin = 1;      ///< Points a job must have above those it stops, >= 1.
  int64_t preempt_after_ms = 60'000;  ///< A job that started is left alone for so long.
  int64_t shrink_after_ms = 60'000;   ///< The same for making it narrower,
  int64_t grow_after_ms = 600'000;    ///< and wider: each resize costs a checkpoint and a start.
  int64_t stop_takes_ms = 30'000;     ///< From asking a gang to stop until its slots are free.
};

/// Everything the planner decides on.
struct PlanInput {
  int64_t now_ms = 0;
  std::vector<AgentSlots> agents{};
  std::vector<WaitingJob> waiting{};
  std::vector<RunningJob> running{};
  std::vector<TenantPolicy> tenants{};
  PlanPolicy policy{};
};

}  // namespace tunefleet::coordinator

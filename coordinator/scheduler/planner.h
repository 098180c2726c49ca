#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tunefleet::coordinator {

/// An agent the planner may use: alive, and nothing on it that the coordinator does not know.
struct AgentSlots {
  std::string host{};
  int64_t slots = 0;
  int64_t free_slots = 0;  ///< <= slots.
};

/// A job that waits. Order of submission decides between equal priorities.
struct WaitingJob {
  std::string id{};
  int64_t workers = 1;
  int64_t priority = 0;
};

/// What the planner decides on. `waiting` is oldest first within a priority (JobStore::queued()).
struct PlanInput {
  std::vector<AgentSlots> agents{};
  std::vector<WaitingJob> waiting{};
};

/// All ranks of `job` start on `host`.
struct PlannedStart {
  std::string job{};
  std::string host{};
};

/// A job that goes on waiting, and why, in words for people.
struct PlannedWait {
  std::string job{};
  int64_t position = 0;  ///< 1 = next.
  std::string reason{};
};

struct Plan {
  std::vector<PlannedStart> starts{};
  std::vector<PlannedWait> waits{};
};

/// Decides what starts now. Pure: the same input gives the same plan.
///
/// - Jobs are looked at by priority (higher first), then age. All ranks of a gang start on one
/// agent or none do; of
///   the agents it fits on, the one with the fewest free slots is taken (best fit), the first by
///   name among equals.
/// - Strict order: behind a job that has to wait for slots nothing starts, so that a wide job is
/// never starved by narrow
///   ones. Only a job too wide for every agent is stepped over; its reason says so.
/// - Every waiting job gets its position and the reason.
Plan plan(const PlanInput& input);

}  // namespace tunefleet::coordinator

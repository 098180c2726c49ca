#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/scheduler/plan_input.h"

namespace tunefleet::coordinator {

/// All ranks of `job` start now, on these hosts.
struct PlannedStart {
  std::string job{};
  Placement placement{};
};

/// Why a running job is to stop with a checkpoint: to give way, or to go on at another width.
enum class StopWhy { kPreempt, kResize };

struct PlannedStop {
  std::string job{};
  StopWhy why = StopWhy::kPreempt;
  std::string for_job{};  ///< The waiting job that needs the slots; empty when the job grows.
  int64_t new_size = 0;   ///< Ranks it is to go on with; 0 when it is preempted.
  std::string reason{};   ///< In words for people.
};

/// A job's id in a Plan, which has the text: thousands wait, and a string for each is what a plan
/// would take the longest for.
class JobName {
 public:
  JobName() = default;
  explicit JobName(std::string_view id) : id_(id) {}
  operator std::string() const { return std::string(id_); }  // NOLINT(google-explicit-constructor)
  friend bool operator==(JobName, JobName) = default;
  friend bool operator==(JobName name, const std::string& id) { return name.id_ == id; }

 private:
  std::string_view id_{};
};

/// A job that goes on waiting, and why.
struct PlannedWait {
  JobName job{};         ///< Valid as long as a copy of the Plan.
  int64_t position = 0;  ///< In the order the jobs are looked at; 1 = first in line.
  size_t reason = 0;     ///< In Plan::reasons: thousands may wait for the same.
  /// By what is known of the others' ends; 0: unknown, or too far behind to tell.
  int64_t estimated_start_ms = 0;
};

struct Plan {
  std::vector<PlannedStart> starts{};
  std::vector<PlannedStop> stops{};
  std::vector<PlannedWait> waits{};            ///< By position.
  std::vector<std::string> reasons{};          ///< In words for people.
  std::shared_ptr<const std::string> names{};  ///< The ids in `waits`, one after the other.
};

/// Decides what starts, stops and waits now. Pure: the same input gives the same plan, in any
/// order of the agents.
///
/// 1. Order: FairOrder. A job in its pause, beyond its tenant's quota or too wide for the fleet is
///    passed over.
/// 2. Jobs start in that order, elastic ones at their smallest, as long as they fit: on the fullest
///    agent that holds the gang, else on the fewest agents. All ranks or none.
/// 3. The first job that does not fit is the head. It gets a Reservation; running jobs shrink for
///    it or are preempted (see make_room()) when it would otherwise wait longer than a stop takes.
/// 4. Behind the head a job starts only where it cannot delay that reservation.
/// 5. What is left widens the elastic jobs that start now; when nothing waits, one running elastic
///    job may grow.
Plan plan(const PlanInput& input);

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/fleet/fleet_state.h"
#include "coordinator/queue/job_record.h"
#include "coordinator/scheduler/planner.h"

namespace tunefleet::coordinator {

/// Slots each tenant has used lately, times time; what lies back longer than the planner's window
/// counts for less and less. A value; forgotten with the process.
class TenantUsage {
 public:
  /// Ranks of running jobs count from the last call to now.
  void take(const std::vector<JobRecord>& running, int64_t window_ms, int64_t now_ms);
  /// The policies with everybody's usage; tenants without a policy get the usual one.
  std::vector<TenantPolicy> policies(const std::vector<TenantPolicy>& given) const;

 private:
  std::map<std::string, double> used_ms_;
  int64_t taken_ms_ = 0;
};

/// What the planner decides on. `unix_ms` by the store's clock. Pure.
PlanInput plan_input_of(const FleetState& state, const std::vector<JobRecord>& queued,
                        const std::vector<JobRecord>& running, std::vector<TenantPolicy> tenants,
                        const PlanPolicy& policy, int64_t unix_ms);

}  // namespace tunefleet::coordinator

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "coordinator/scheduler/plan_input.h"
#include "coordinator/scheduler/planner.h"
#include "coordinator/scheduler/slot_index.h"
#include "coordinator/scheduler/tenant_ledger.h"

/// What the planner decided, in words for people.
namespace tunefleet::coordinator::reasons {

std::string pause(int64_t left_ms);
/// Wider than the agents it may use, on which `capacity` slots can be used together.
std::string too_wide(const WaitingJob& job, int64_t capacity, bool span_agents);
/// Quota: it would take the tenant past it now, or always.
std::string quota(const WaitingJob& job, const TenantLedger& ledger, size_t tenant);
std::string behind_in_quota(std::string_view job);
/// The head: slots are taken. `coming`: slots of `where` that are being freed.
std::string slots_taken(const WaitingJob& job, const SlotIndex& slots, const AgentSet& where,
                        int64_t coming);
/// Behind the head, which is wider or not.
std::string behind(std::string_view head, bool head_is_wider);

std::string preempted(const RunningJob& job, const WaitingJob& for_job);
std::string made_narrower(int64_t width, int64_t new_size, const WaitingJob& for_job);
std::string made_wider(int64_t width, int64_t new_size);

}  // namespace tunefleet::coordinator::reasons

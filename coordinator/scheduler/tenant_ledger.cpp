#include "coordinator/scheduler/tenant_ledger.h"

#include <algorithm>
#include <limits>

namespace tunefleet::coordinator {
namespace {

constexpr double kSmallestWeight = 1e-6;
constexpr double kRounding = 1e-9;

}  // namespace

TenantLedger::TenantLedger(const PlanInput& input) {
  const auto window_ms = static_cast<double>(std::max<int64_t>(1, input.policy.usage_window_ms));
  of_waiting_.reserve(input.waiting.size());
  for (const auto& job : input.waiting) of_waiting_.push_back(add(job.tenant));
  for (const auto& job : input.running) {
    const size_t id = add(job.tenant);
    for (const auto& part : job.placement) use(id, part.ranks);
  }
  for (const auto& policy : input.tenants) {
    const auto known = ids_.find(policy.tenant);
    if (known == ids_.end()) continue;  // It neither runs nor waits: it has no part in this.
    Tenant& entry = tenants_[known->second];
    entry.weight = std::max(kSmallestWeight, policy.weight);
    entry.max_slots = policy.max_slots;
    entry.past_slots = policy.used_device_ms / window_ms;
  }
  mark_above_share();
}

/// Thousands of jobs are of a few tenants, which mostly differ in the end of their names.
size_t& TenantLedger::recent(std::string_view name) {
  size_t place = name.size();
  if (name.size() > 1) {
    place += 11 * static_cast<size_t>(name[name.size() - 2]) + static_cast<size_t>(name.back());
  }
  return recent_[place % recent_.size()];
}

size_t TenantLedger::add(std::string_view name) {
  size_t& known = recent(name);
  if (known < tenants_.size() && tenants_[known].name == name) return known;
  const auto [entry, added] = ids_.try_emplace(name, tenants_.size());
  if (added) tenants_.push_back({.name = name});
  return known = entry->second;
}

void TenantLedger::mark_above_share() {
  double use = 0.0;
  double weight = 0.0;
  for (const auto& tenant : tenants_) {
    use += static_cast<double>(tenant.used) + tenant.past_slots;
    weight += tenant.weight;
  }
  for (size_t id = 0; id < tenants_.size(); ++id) {
    tenants_[id].above_share = score(id) > use / weight * (1.0 + kRounding);
  }
}

int64_t TenantLedger::left(size_t id) const {
  if (tenants_[id].max_slots <= 0) return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(0, tenants_[id].max_slots - tenants_[id].used);
}

double TenantLedger::score(size_t id) const {
  const Tenant& tenant = tenants_[id];
  return (static_cast<double>(tenant.used + tenant.claimed) + tenant.past_slots) / tenant.weight;
}

}  // namespace tunefleet::coordinator

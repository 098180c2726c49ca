#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/scheduler/plan_input.h"

namespace tunefleet::coordinator {

/// What each tenant uses, may use and is about to use, while a plan is made.
class TenantLedger {
 public:
  /// Borrows the names in `input`.
  explicit TenantLedger(const PlanInput& input);

  size_t id_of(std::string_view tenant) const { return ids_.at(tenant); }
  /// The tenant of the waiting job with this index.
  size_t of_waiting(size_t job) const { return of_waiting_[job]; }
  std::string_view name(size_t id) const { return tenants_[id].name; }
  /// Slots in use, those of stopping jobs too.
  int64_t used(size_t id) const { return tenants_[id].used; }
  int64_t quota(size_t id) const { return tenants_[id].max_slots; }  ///< 0: none.
  /// Slots the quota leaves; very many without one.
  int64_t left(size_t id) const;
  /// (Slots in use or claimed + past use in slots) / weight: the fewest is served first.
  double score(size_t id) const;
  /// Whether the tenant had more than its weight's share of all use when the plan began.
  bool above_share(size_t id) const { return tenants_[id].above_share; }

  void use(size_t id, int64_t slots) { tenants_[id].used += slots; }
  /// For a job in line: whoever comes next in line is chosen as if it had started.
  void claim(size_t id, int64_t slots) { tenants_[id].claimed += slots; }

 private:
  struct Tenant {
    std::string_view name{};
    double weight = 1.0;
    int64_t max_slots = 0;
    double past_slots = 0.0;
    int64_t used = 0;
    int64_t claimed = 0;
    bool above_share = false;
  };
  size_t add(std::string_view name);
  size_t& recent(std::string_view name);
  void mark_above_share();

  std::vector<Tenant> tenants_;
  std::vector<size_t> of_waiting_;
  std::unordered_map<std::string_view, size_t> ids_;
  std::array<size_t, 128> recent_{};  ///< Ids by a part of their names: saves looking in ids_.
};

}  // namespace tunefleet::coordinator

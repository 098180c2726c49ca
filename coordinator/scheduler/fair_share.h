#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/scheduler/plan_input.h"
#include "coordinator/scheduler/tenant_ledger.h"

namespace tunefleet::coordinator {

/// The order in which waiting jobs are looked at.
///
/// - Higher class first: priority + points for waiting, in whole points. A tenant above its share
///   gains no points: its jobs wait for its own, and a long queue of one tenant would otherwise
///   stay older, and so ahead, of everybody else's for good.
/// - Within a class the tenant with the lowest score (TenantLedger) first, as it is at that moment.
/// - Within a tenant the older submission first, then the order of the input.
class FairOrder {
 public:
  /// Borrows both; next() reads the ledger's scores as they are then.
  FairOrder(const PlanInput& input, const TenantLedger& ledger);

  struct Next {
    size_t job = 0;     ///< Index in PlanInput::waiting.
    size_t tenant = 0;  ///< Its id in the ledger.
  };
  /// None when all jobs have been given out.
  std::optional<Next> next();

 private:
  struct Entry {
    int64_t rank_class = 0;
    size_t tenant = 0;
    int64_t submitted_at_ms = 0;
    size_t job = 0;
    auto operator<=>(const Entry&) const = default;
  };
  /// The first job not yet given out of a tenant in the current class; `end` is past its last.
  struct Line {
    double score = 0.0;
    int64_t submitted_at_ms = 0;
    size_t job = 0;
    size_t entry = 0;
    size_t end = 0;
    bool operator>(const Line& other) const {
      if (score != other.score) return score > other.score;
      if (submitted_at_ms != other.submitted_at_ms) return submitted_at_ms > other.submitted_at_ms;
      return job > other.job;
    }
  };
  void open_class();
  void add_line(size_t entry, size_t end);
  void leave_top();
  void sink_top();

  const std::vector<WaitingJob>& waiting_;
  const TenantLedger& ledger_;
  std::vector<Entry> entries_;  ///< By class, then tenant, then age.
  size_t next_entry_ = 0;       ///< Where the next class begins.
  std::vector<Line> lines_;     ///< A heap, the next on top.
  bool top_served_ = false;     ///< The top moves on once its tenant's score is settled.
};

}  // namespace tunefleet::coordinator

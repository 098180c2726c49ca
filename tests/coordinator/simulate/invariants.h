#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "coordinator/queue/job_store.h"
#include "tests/coordinator/simulate/sim_agent.h"

namespace tunefleet::simulate {

/// Watches a fleet: what must hold at every moment, and what must hold in the end. Each check
/// returns a sentence, "name of the invariant: values", or nothing.
class Invariants {
 public:
  /// The client was told that this is so.
  void accepted(const std::string& key, const std::string& job);
  void cancel_accepted(const std::string& job) { cancelled_.insert(job); }

  /// One change of the shared store has been made.
  std::string after_change(const coordinator::JobRecord& before,
                           const coordinator::JobRecord& after);
  /// As it stands now: agents, and the jobs that run in the store.
  std::string now(const std::map<std::string, const SimAgent*>& agents,
                  const std::vector<coordinator::JobRecord>& running) const;
  /// When everything has settled.
  std::string finally(coordinator::JobStore& store) const;

  int64_t jobs() const { return static_cast<int64_t>(accepted_.size()); }

 private:
  std::map<std::string, std::string> accepted_;  ///< Idempotency key -> job.
  std::set<std::string> cancelled_;
  std::string twice_;
};

}  // namespace tunefleet::simulate

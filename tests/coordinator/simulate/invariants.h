#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_store.h"
#include "tests/coordinator/simulate/sim_agent.h"

namespace tunefleet::simulate {

/// Watches a fleet: what must hold at every moment, and what must hold in the end. Each check
/// returns a sentence, "name of the invariant: values", or nothing.
class Invariants {
 public:
  /// The client was told that this is so.
  void accepted(const std::string& key, const std::string& job);
  /// The client was told that this sweep of so many trials is taken.
  void sweep_accepted(const std::string& sweep, size_t trials) { sweeps_[sweep] = trials; }
  void cancel_accepted(const std::string& job) { cancelled_.insert(job); }

  /// One change of the shared store has been made.
  std::string after_change(const coordinator::JobRecord& before,
                           const coordinator::JobRecord& after);
  /// As it stands now: agents, and the jobs that run in the store.
  std::string now(const std::map<std::string, const SimAgent*>& agents,
                  const std::vector<coordinator::JobRecord>& running) const;
  /// A sweep has stopped this job.
  void stopped_by_sweep(const std::string& job) { stopped_.insert(job); }
  /// When everything has settled.
  std::string finally(coordinator::JobStore& store, coordinator::SweepStore& sweeps) const;

  int64_t jobs() const { return static_cast<int64_t>(accepted_.size()); }

 private:
  std::string end_of_job(coordinator::JobStore& store, const std::string& id) const;
  std::string end_of_sweep(coordinator::JobStore& store, coordinator::SweepStore& sweeps,
                           const std::string& id, size_t trials) const;

  std::map<std::string, std::string> accepted_;  ///< Idempotency key -> job.
  std::map<std::string, size_t> sweeps_;         ///< With their trials.
  std::set<std::string> stopped_;
  std::set<std::string> cancelled_;
  std::string twice_;
};

}  // namespace tunefleet::simulate

#pragma once

#include <cstdint>
#include <string>

#include "coordinator/queue/job_store.h"

namespace tunefleet::coordinator {

/// Keeps this process' leadership of the fleet, or waits for it. One thread.
///
///   stands by --lead()--> leads --another took over, resign()--> stands by
///
/// A store that does not answer ends no leadership: nobody else can take it meanwhile, and every
/// write is fenced by the generation anyway.
class LeaderLease {
 public:
  /// `place`: see JobStore::lead(). `store` outlives this.
  LeaderLease(JobStore& store, std::string place, int64_t ttl_ms = 3'000);
  ~LeaderLease() { resign(); }
  LeaderLease(const LeaderLease&) = delete;
  LeaderLease& operator=(const LeaderLease&) = delete;

  /// Tries to lead, or renews when a third of the lease has passed. Returns leads().
  bool keep(int64_t now_ms);
  bool leads() const { return generation_ > 0; }
  int64_t generation() const { return generation_; }  ///< 0 while standing by.
  void resign();

 private:
  JobStore& store_;
  const std::string place_;
  const std::string process_;  ///< Random: tells this process from every other.
  const int64_t ttl_ms_;
  int64_t generation_ = 0;
  int64_t tried_ms_ = 0;
  std::string told_;  ///< What the log knows of who leads.
};

}  // namespace tunefleet::coordinator

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/queue/sweep_record.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// The sweeps, kept where the jobs are. Every method is one atomic step and safe to call from any
/// thread. kUnavailable when the store does not answer.
class SweepStore {
 public:
  virtual ~SweepStore() = default;

  /// Stores a new sweep, running. kConflict when there is one of that id.
  virtual Result<SweepRecord> create(const SweepRecord& sweep) = 0;
  /// kNotFound.
  virtual Result<SweepRecord> get(const std::string& id) = 0;
  /// Of `owner`, newest first.
  virtual Result<std::vector<SweepRecord>> list(const std::string& owner) = 0;
  /// Running and cancelling ones of everybody, oldest first.
  virtual Result<std::vector<SweepRecord>> unfinished() = 0;
  /// Moves the sweep along an arrow of SweepPhase. One that is there already is left as it is;
  /// kConflict where there is no arrow.
  virtual Result<SweepRecord> move(const std::string& id, SweepPhase to) = 0;
};

/// Opens the sweeps in Redis; `url` as for open_redis_job_store().
Result<std::unique_ptr<SweepStore>> open_redis_sweep_store(const std::string& url);
/// The same rules in memory, for tests.
std::unique_ptr<SweepStore> make_memory_sweep_store(std::function<int64_t()> now_ms);

}  // namespace tunefleet::coordinator

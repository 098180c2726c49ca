#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "coordinator/queue/redis_connection.h"
#include "coordinator/queue/redis_scripts.h"
#include "coordinator/queue/waiting_jobs.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Reads jobs out of Redis, one and many, as JobStore says: an index first, then the hashes.
/// Remembers the jobs that wait, so that a long queue is not read anew for each plan. Thread-safe.
class RedisJobLists {
 public:
  /// Both outlive this.
  RedisJobLists(RedisPool& redis, RedisScripts& scripts) : redis_(redis), scripts_(scripts) {}

  Result<JobRecord> get(const std::string& id);
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t limit);
  Result<std::vector<JobRecord>> in_group(const std::string& group);
  Result<std::vector<JobRecord>> queued();
  Result<std::vector<JobRecord>> running();

 private:
  Result<std::vector<JobRecord>> of_index(const std::string& index, bool newest_first,
                                          const std::string& after, int64_t limit);
  Result<std::vector<std::string>> waiting_ids();
  Status forget_requeued();
  Result<std::vector<JobRecord>> read_all(const std::vector<std::string>& ids);

  RedisPool& redis_;
  RedisScripts& scripts_;
  std::mutex waiting_mutex_;
  WaitingJobs waiting_;         ///< Guarded by waiting_mutex_, like
  int64_t newest_requeue_ = 0;  ///< the newest in tf:requeued that is known.
};

}  // namespace tunefleet::coordinator

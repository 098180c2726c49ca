#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/queue/job_record.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Whose fault a failed attempt was, which decides whether it is tried again.
enum class FailureClass {
  kUser,            ///< The job itself: it would fail again.
  kMemory,          ///< Did not fit: one more try with half the rows at once.
  kInfrastructure,  ///< A process or connection was lost: tried again, for free.
  kNode,            ///< One machine is to blame: tried again, elsewhere if there is an elsewhere.
};

/// "user", "memory", "infrastructure", "node": told in events and by the API.
std::string_view failure_class_name(FailureClass failure);

/// One attempt's failure as the agent or the coordinator saw it.
struct AttemptFailure {
  ErrorCode code = ErrorCode::kInternal;
  std::string host{};   ///< Of the rank that failed, or of the agent.
  bool launch = false;  ///< No rank to blame: the gang could not be started, or its agent is lost.
  std::string message{};  ///< The words of the rank, of its signal, of mpirun.
};

FailureClass class_of(const AttemptFailure& failure);

/// What becomes of a job whose attempt failed. `again` false: the job has failed.
struct RetryDecision {
  bool again = false;
  int64_t delay_ms = 0;
  FailureCounts failures{};
  std::vector<std::string> excluded_hosts{};  ///< Forgotten with the counts, after an hour.
  bool half_batch = false;
  std::string words{};  ///< "trying again in 4 s (3rd failure of the infrastructure)", or why not.
};

struct RetryLimits {
  int64_t infrastructure = 60;  ///< Failures of one job within an hour.
  int64_t node = 20;
  int64_t first_delay_ms = 1'000;  ///< Doubled with each failure of the same class, up to
  int64_t longest_delay_ms = 60'000;
};

/// Pure. `now_ms` by the store's clock.
RetryDecision decide_retry(const JobRecord& job, const AttemptFailure& failure,
                           const RetryLimits& limits, int64_t now_ms);

}  // namespace tunefleet::coordinator

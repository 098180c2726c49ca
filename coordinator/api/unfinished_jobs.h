#pragma once

#include <functional>
#include <optional>
#include <string>

#include "coordinator/queue/job_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// The newest job of `owner` (empty: of everybody) that has not ended and fulfils `uses`: waiting,
/// running and paused ones alike, since a paused job starts again from the same files. Reads every
/// job once, in whichever phase it then is, so that one that moves meanwhile is not missed; with
/// thousands of jobs that takes a while, and is meant for what is done rarely. Errors are the
/// store's.
Result<std::optional<JobRecord>> find_unfinished_job(
    JobStore& jobs, const std::string& owner, const std::function<bool(const JobRecord&)>& uses);

/// "ftjob-…, which is paused": how an error names a job that is in the way.
std::string job_in_the_way(const JobRecord& job);

}  // namespace tunefleet::coordinator

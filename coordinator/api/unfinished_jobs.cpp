#include "coordinator/api/unfinished_jobs.h"

#include <fmt/format.h>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kAtOnce = 200;  ///< Few enough that other callers of the store do not wait long.

}  // namespace

Result<std::optional<JobRecord>> find_unfinished_job(
    JobStore& jobs, const std::string& owner, const std::function<bool(const JobRecord&)>& uses) {
  std::string after;
  for (;;) {
    auto page = jobs.list(owner, after, kAtOnce);
    if (!page) return fail(page.error());
    for (JobRecord& job : page->jobs) {
      if (!is_final(job.phase) && uses(job)) return std::move(job);
    }
    if (!page->has_more || page->jobs.empty()) return std::nullopt;
    after = page->jobs.back().id;
  }
}

std::string job_in_the_way(const JobRecord& job) {
  return fmt::format("{}, which is {}", job.id, phase_name(job.phase));
}

}  // namespace tunefleet::coordinator

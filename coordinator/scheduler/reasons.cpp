#include "coordinator/scheduler/reasons.h"

#include <fmt/format.h>

namespace tunefleet::coordinator::reasons {
namespace {

constexpr int64_t kSecondMs = 1'000;
constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kLongMs = 2 * kMinuteMs;

std::string counted(int64_t count, std::string_view one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

std::string named(std::string_view tenant) {
  return tenant.empty() ? "the default tenant" : fmt::format("tenant {}", tenant);
}

std::string width_of(const WaitingJob& job) {
  return job.max_workers > job.min_workers
             ? fmt::format("at least {}", counted(job.min_workers, "slot"))
             : counted(job.min_workers, "slot");
}

}  // namespace

std::string pause(int64_t left_ms) {
  const bool is_long = left_ms > kLongMs;
  const int64_t unit_ms = is_long ? kMinuteMs : kSecondMs;
  return fmt::format("to be tried again in {} {} after an infrastructure failure",
                     (left_ms + unit_ms - 1) / unit_ms, is_long ? "min" : "s");
}

std::string too_wide(const WaitingJob& job, int64_t capacity, bool span_agents) {
  std::string_view whole = span_agents ? "the fleet has" : "the largest agent has";
  if (!job.excluded_hosts.empty()) {
    whole = span_agents ? "the agents it may use have" : "the largest agent it may use has";
  }
  return fmt::format("needs {}, {} {}", width_of(job), whole, capacity);
}

std::string quota(const WaitingJob& job, const TenantLedger& ledger, size_t tenant) {
  const int64_t limit = ledger.quota(tenant);
  if (job.min_workers > limit) {
    return fmt::format("needs {}, {} may use {} at once", width_of(job), named(ledger.name(tenant)),
                       limit);
  }
  const auto in_use = fmt::format("{} has {} of {} in use", named(ledger.name(tenant)),
                                  ledger.used(tenant), counted(limit, "slot"));
  return ledger.left(tenant) == 0 ? in_use
                                  : fmt::format("{}, this needs {}", in_use, job.min_workers);
}

std::string behind_in_quota(std::string_view job) {
  return fmt::format("waiting behind {}, which waits for slots of the same tenant", job);
}

std::string slots_taken(const WaitingJob& job, const SlotIndex& slots, const AgentSet& where,
                        int64_t coming) {
  const auto soon = coming > 0 ? fmt::format(", {} being freed", coming) : std::string();
  const auto narrowed = where.listed().empty() ? "" : " on the agents it may use";
  if (slots.span_agents() || slots.size() == 1) {
    return fmt::format("waiting for {} ({} free of {}{}{})", width_of(job), slots.free_in(where),
                       slots.slots_in(where), narrowed, soon);
  }
  return fmt::format("waiting for {} on one agent ({} free at most, on {}{})", width_of(job),
                     slots.room_in(where), counted(static_cast<int64_t>(slots.size()), "agent"),
                     soon);
}

std::string behind(std::string_view head, bool head_is_wider) {
  return fmt::format("waiting behind {}{}", head, head_is_wider ? ", which is wider" : "");
}

std::string preempted(const RunningJob& job, const WaitingJob& for_job) {
  return fmt::format("stopped with a checkpoint to make room for {}: priority {} over {}",
                     for_job.id, for_job.priority, job.priority);
}

std::string made_narrower(int64_t width, int64_t new_size, const WaitingJob& for_job) {
  return fmt::format("goes on from a checkpoint with {} instead of {}, to make room for {}",
                     counted(new_size, "rank"), width, for_job.id);
}

std::string made_wider(int64_t width, int64_t new_size) {
  return fmt::format("goes on from a checkpoint with {} instead of {}: slots are free",
                     counted(new_size, "rank"), width);
}

}  // namespace tunefleet::coordinator::reasons

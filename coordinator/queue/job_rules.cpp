#include "coordinator/queue/job_rules.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <charconv>

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kJobPrefix = "ftjob-";

std::string_view without_prefix(std::string_view job) {
  if (job.starts_with(kJobPrefix)) job.remove_prefix(kJobPrefix.size());
  return job;
}

tl::unexpected<Error> ended_already(const JobRecord& job) {
  return fail(ErrorCode::kConflict,
              fmt::format("the job has ended already ({}): {}", phase_name(job.phase), job.id));
}

void start_attempt(JobRecord& job, const TransitionChange& change, int64_t now_ms) {
  ++job.attempt;
  job.started_at_ms = now_ms;
  job.progress = job.failure = job.result = nullptr;
  job.error.reset();
  if (!change.placement) return;
  job.placement = *change.placement;
  job.workers = ranks_of(job.placement);
}

}  // namespace

Result<JobRecord> new_job(const JobRecord& asked) {
  if (asked.phase != JobPhase::kValidatingFiles && asked.phase != JobPhase::kQueued) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a new job starts as validating_files or queued: {} is {}", asked.id,
                            phase_name(asked.phase)));
  }
  return JobRecord{.id = asked.id.empty() ? new_job_id() : asked.id,
                   .owner = asked.owner,
                   .group = asked.group,
                   .phase = asked.phase,
                   .priority = asked.priority,
                   .workers = asked.workers,
                   .min_workers = asked.min_workers,
                   .max_workers = asked.max_workers,
                   .spec = asked.spec,
                   .request = asked.request};
}

void set_created(JobRecord& job, int64_t now_ms) {
  job.created_at_ms = now_ms;
  job.queued_at_ms = job.phase == JobPhase::kQueued ? now_ms : 0;
}

std::string created_message(const std::string& id) {
  return fmt::format("Created fine-tuning job: {}", id);
}

bool is_transition(JobPhase from, JobPhase to) {
  switch (from) {
    case JobPhase::kValidatingFiles:
      return to == JobPhase::kQueued || to == JobPhase::kFailed || to == JobPhase::kCancelled;
    case JobPhase::kQueued:
      return to == JobPhase::kRunning || to == JobPhase::kPaused || to == JobPhase::kFailed ||
             to == JobPhase::kCancelled;
    case JobPhase::kRunning:
      return to == JobPhase::kQueued || to == JobPhase::kPaused || is_final(to);
    case JobPhase::kPaused:
      return to == JobPhase::kQueued || to == JobPhase::kCancelled;
    case JobPhase::kSucceeded:
    case JobPhase::kFailed:
    case JobPhase::kCancelled:
      return false;
  }
  return false;
}

std::string_view default_event_message(JobPhase to) {
  switch (to) {
    case JobPhase::kValidatingFiles:
      return "Validating files";
    case JobPhase::kQueued:
      return "Job is queued";
    case JobPhase::kRunning:
      return "Job started";
    case JobPhase::kPaused:
      return "The job is paused";
    case JobPhase::kSucceeded:
      return "The job has successfully completed";
    case JobPhase::kFailed:
      return "The job failed";
    case JobPhase::kCancelled:
      return "The job was cancelled";
  }
  return "";
}

std::string_view default_stop_message(StopReason reason) {
  switch (reason) {
    case StopReason::kNone:
      return "";
    case StopReason::kResize:
      return "The job is stopped to go on with another number of ranks";
    case StopReason::kPreempt:
      return "The job is stopped for one of higher priority and will go on later";
    case StopReason::kPause:
      return "A pause was requested; the ranks are being stopped";
    case StopReason::kSweep:
      return "The sweep goes on without this job; its ranks are being stopped";
    case StopReason::kCancel:
      return "Cancellation was requested; the ranks are being stopped";
  }
  return "";
}

Result<JobRecord> after_transition(JobRecord job, int64_t attempt, JobPhase from, JobPhase to,
                                   const TransitionChange& change, int64_t now_ms) {
  if (!is_transition(from, to)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("no way from {} to {}: {}", phase_name(from), phase_name(to), job.id));
  }
  if (job.phase != from || job.attempt != attempt) {
    return fail(ErrorCode::kConflict,
                fmt::format("the job is {} in attempt {}, not {} in attempt {}: {}",
                            phase_name(job.phase), job.attempt, phase_name(from), attempt, job.id));
  }
  if (to == JobPhase::kQueued && job.stop >= StopReason::kPause) {
    return fail(ErrorCode::kConflict,
                fmt::format("the job is to stop ({}), not to be queued again: {}",
                            stop_reason_name(job.stop), job.id));
  }
  if (from == JobPhase::kRunning) job.device_ms += job.workers * (now_ms - job.started_at_ms);
  job.phase = to;
  job.placement.clear();
  if (!is_final(to)) job.stop = StopReason::kNone;
  if (to == JobPhase::kQueued) job.queued_at_ms = now_ms;
  if (to == JobPhase::kRunning) start_attempt(job, change, now_ms);
  if (change.not_before_ms) job.not_before_ms = *change.not_before_ms;
  if (change.excluded_hosts) job.excluded_hosts = *change.excluded_hosts;
  if (change.failures) job.failures = *change.failures;
  if (change.half_batch) job.half_batch = *change.half_batch;
  if (change.error) job.error = change.error;
  if (change.failure) job.failure = *change.failure;
  if (change.result) job.result = *change.result;
  if (is_final(to)) job.finished_at_ms = now_ms;
  return job;
}

Result<Asked> after_stop_request(JobRecord job, StopReason reason, const std::string& message,
                                 int64_t now_ms) {
  if (is_final(job.phase)) return ended_already(job);
  if (job.phase == JobPhase::kRunning) {
    if (job.stop >= reason) return Asked{std::move(job), ""};
    job.stop = reason;
    return Asked{std::move(job),
                 message.empty() ? std::string(default_stop_message(reason)) : message};
  }
  const JobPhase to = phase_after_stop(reason);
  if (to == JobPhase::kQueued) {
    return fail(ErrorCode::kConflict,
                fmt::format("the job does not run ({}), it cannot be stopped to {}: {}",
                            phase_name(job.phase), stop_reason_name(reason), job.id));
  }
  if (job.phase == to) return Asked{std::move(job), ""};
  if (!is_transition(job.phase, to)) {
    return fail(ErrorCode::kConflict, fmt::format("a job that is {} cannot be {}: {}",
                                                  phase_name(job.phase), phase_name(to), job.id));
  }
  job.phase = to;
  if (is_final(to)) {
    job.stop = reason;
    job.finished_at_ms = now_ms;
  }
  return Asked{std::move(job), message.empty() ? std::string(default_event_message(to)) : message};
}

Result<Asked> after_resume(JobRecord job, int64_t now_ms) {
  if (is_final(job.phase)) return ended_already(job);
  if (job.cancel_requested()) {
    return fail(ErrorCode::kConflict, fmt::format("the job is being cancelled: {}", job.id));
  }
  if (job.phase == JobPhase::kPaused) {
    job.phase = JobPhase::kQueued;
    job.queued_at_ms = now_ms;
    job.not_before_ms = 0;
    return Asked{std::move(job), std::string(kResumedMessage)};
  }
  if (job.phase == JobPhase::kRunning && job.stop == StopReason::kPause) {
    job.stop = StopReason::kPreempt;
    return Asked{std::move(job), std::string(kResumedEarlyMessage)};
  }
  return Asked{std::move(job), ""};
}

int64_t ranks_of(const Placement& placement) {
  int64_t ranks = 0;
  for (const GangPart& part : placement) ranks += part.ranks;
  return ranks;
}

nlohmann::json to_json(const Placement& placement) {
  auto value = nlohmann::json::array();
  for (const GangPart& part : placement) value.push_back({part.host, part.ranks});
  return value;
}

Result<Placement> placement_from_json(const nlohmann::json& value) {
  const auto refuse = [&value] {
    return fail(ErrorCode::kDataLoss,
                fmt::format("not a list of [host, ranks]: {}", value.dump().substr(0, 80)));
  };
  if (value.is_null()) return Placement{};
  if (!value.is_array()) return refuse();
  Placement placement;
  for (const auto& part : value) {
    if (!part.is_array() || part.size() != 2 || !part[0].is_string() ||
        !part[1].is_number_integer()) {
      return refuse();
    }
    placement.push_back({.host = part[0].get<std::string>(), .ranks = part[1].get<int64_t>()});
  }
  return placement;
}

std::string new_job_id() {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  constexpr size_t kCharacters = 24;
  std::string id(kJobPrefix);
  while (id.size() < kJobPrefix.size() + kCharacters) {
    std::array<unsigned char, 2 * kCharacters> drawn{};
    // One call for all: std::random_device takes microseconds for each number.
    if (::getrandom(drawn.data(), drawn.size(), 0) < 0) continue;  // A signal came.
    for (const unsigned char byte : drawn) {
      if (id.size() == kJobPrefix.size() + kCharacters) break;
      if (const size_t pick = byte & 63U; pick < kAlphabet.size()) id += kAlphabet[pick];
    }
  }
  return id;
}

std::string event_id(const std::string& job, int64_t number) {
  return fmt::format("ftevent-{}-{}", without_prefix(job), number);
}

std::optional<int64_t> number_of_event(const std::string& job, const std::string& event_id) {
  const std::string prefix = fmt::format("ftevent-{}-", without_prefix(job));
  if (!event_id.starts_with(prefix)) return std::nullopt;
  int64_t number = 0;
  const char* end = event_id.data() + event_id.size();
  const auto [stop, error] = std::from_chars(event_id.data() + prefix.size(), end, number);
  if (error != std::errc() || stop != end || number < 1) return std::nullopt;
  return number;
}

}  // namespace tunefleet::coordinator

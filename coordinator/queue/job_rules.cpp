#include "coordinator/queue/job_rules.h"

#include <fmt/format.h>

#include <charconv>
#include <random>

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kJobPrefix = "ftjob-";

std::string_view without_prefix(std::string_view job) {
  if (job.starts_with(kJobPrefix)) job.remove_prefix(kJobPrefix.size());
  return job;
}

}  // namespace

bool is_transition(JobPhase from, JobPhase to) {
  switch (from) {
    case JobPhase::kValidatingFiles:
      return to == JobPhase::kQueued || to == JobPhase::kFailed || to == JobPhase::kCancelled;
    case JobPhase::kQueued:
      return to == JobPhase::kRunning || to == JobPhase::kFailed || to == JobPhase::kCancelled;
    case JobPhase::kRunning:
      return to == JobPhase::kQueued || is_final(to);
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
    case JobPhase::kSucceeded:
      return "The job has successfully completed";
    case JobPhase::kFailed:
      return "The job failed";
    case JobPhase::kCancelled:
      return "The job was cancelled";
  }
  return "";
}

std::string new_job_id() {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device source;
  std::uniform_int_distribution<size_t> pick(0, kAlphabet.size() - 1);
  std::string id(kJobPrefix);
  for (int i = 0; i < 24; ++i) id += kAlphabet[pick(source)];
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

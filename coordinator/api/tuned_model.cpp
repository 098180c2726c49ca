#include "coordinator/api/tuned_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "coordinator/api/ids.h"

namespace tunefleet::coordinator {
namespace {

constexpr std::string_view kJobPrefix = "ftjob-";
constexpr std::string_view kStepPrefix = "ckpt-step-";

std::string text_at(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Colons part the name, so they may not stand inside.
std::string name_part(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](unsigned char c) {
        return c < 128 && !std::isalnum(c) && c != '.' && c != '_' && c != '-';
      },
      '-');
  return text;
}

std::string_view last_part(std::string_view& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::exchange(text, {});
  const auto part = text.substr(colon + 1);
  text = text.substr(0, colon);
  return part;
}

std::optional<int64_t> step_of(std::string_view part) {
  if (!part.starts_with(kStepPrefix)) return std::nullopt;
  part.remove_prefix(kStepPrefix.size());
  int64_t step = 0;
  const auto [stop, failure] = std::from_chars(part.data(), part.data() + part.size(), step);
  if (failure != std::errc() || stop != part.data() + part.size() || step < 0) return std::nullopt;
  return step;
}

}  // namespace

std::string tuned_model_name(const JobRecord& job) {
  return fmt::format("ft:{}:{}:{}:{}", text_at(job.request, "model"), name_part(job.owner),
                     name_part(text_at(job.spec, "name")), job.id.substr(kJobPrefix.size()));
}

std::string checkpoint_name(const JobRecord& job, int64_t step) {
  return fmt::format("{}:{}{}", tuned_model_name(job), kStepPrefix, step);
}

Result<TunedModel> find_tuned_model(JobStore& jobs, const ModelAccess& access,
                                    const std::filesystem::path& jobs_directory,
                                    const std::string& owner, std::string_view name) {
  const auto unknown = [&] {
    return fail(ErrorCode::kNotFound,
                fmt::format("no such tuned model among your finished jobs: {}", name));
  };
  std::string_view rest = name;
  std::string_view id = last_part(rest);
  const auto step = step_of(id);
  if (step) id = last_part(rest);
  const std::string job_id =
      id.starts_with(kJobPrefix) ? std::string(id) : fmt::format("{}{}", kJobPrefix, id);
  if (!is_id(job_id, kJobPrefix)) return unknown();
  auto job = jobs.get(job_id);
  if (!job && job.error().code != ErrorCode::kNotFound) return fail(job.error());
  if (!job || access.is_deleted(job_id)) return unknown();
  if (job->owner != owner && !access.permits({.job = job_id, .step = step}, owner)) {
    return unknown();
  }
  const bool named_fully =
      name == job_id || name == (step ? checkpoint_name(*job, *step) : tuned_model_name(*job));
  if (!named_fully) return unknown();
  std::filesystem::path checkpoint = text_at(job->result, "checkpoint");
  if (step) checkpoint = jobs_directory / job_id / fmt::format("checkpoint-{}", *step);
  std::error_code error;
  if (checkpoint.empty() || !std::filesystem::exists(checkpoint, error)) return unknown();
  return TunedModel{.job = *job,
                    .step = step,
                    .base = text_at(job->request, "model"),
                    .checkpoint = std::move(checkpoint)};
}

}  // namespace tunefleet::coordinator

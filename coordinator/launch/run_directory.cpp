#include "coordinator/launch/run_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "proto/job_spec.h"
#include "storage/atomic_file.h"
#include "storage/os_error.h"
#include "tuners/config/job_flat_keys.h"
#include "tuners/config/tuner_list.h"

namespace tunefleet::coordinator {
namespace {

/// What gradient accumulation aims at when the job does not say (proto/job_spec.h).
constexpr int64_t kUsualRowsPerStep = 16;

bool is_plain_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

int64_t number_in(const nlohmann::json& spec, const char* key, int64_t fallback) {
  const auto found = spec.find(key);
  return found != spec.end() && found->is_number_integer() ? found->get<int64_t>() : fallback;
}

void take_fewer_rows_at_once(nlohmann::json& spec, int64_t workers) {
  const int64_t rows = number_in(spec, "per_device_train_batch_size", 1);
  if (rows < 2) return;
  const int64_t per_pass = rows * std::max<int64_t>(workers, 1);
  const int64_t usual = std::max<int64_t>(1, (kUsualRowsPerStep + per_pass - 1) / per_pass);
  const int64_t passes = number_in(spec, "gradient_accumulation_steps", usual);
  int64_t parts = 2;  // The fewest equal parts, so that a step keeps its rows.
  while (rows % parts != 0) ++parts;
  spec["per_device_train_batch_size"] = rows / parts;
  spec["gradient_accumulation_steps"] = passes * parts;
}

/// A job that starts from adapters has its tuners from them, and its own keys about tuners are not
/// looked at. Without the adapters they would be: those go that LoRA, the default, does not have.
void forget_tuner(nlohmann::json& spec) {
  const auto lora = tuners::find_tuner_schema(JobSpec{}.tuner_type);
  std::set<std::string_view> kept;
  for (const auto& key : tuners::flat_keys(**lora)) kept.insert(key.job_key);
  for (const auto* schema : tuners::tuner_schemas()) {
    for (const auto& key : tuners::flat_keys(*schema)) {
      if (!kept.contains(key.job_key)) spec.erase(std::string(key.job_key));
    }
  }
  spec.erase("tuner_type");
}

}  // namespace

nlohmann::json attempt_spec(const JobRecord& job, bool has_checkpoint) {
  nlohmann::json spec = job.spec;
  if (job.attempt > 0 && has_checkpoint) {
    if (!spec.value("adapters", nlohmann::json::array()).empty()) forget_tuner(spec);
    spec["resume_from_checkpoint"] = "latest";
    spec["adapters"] = nlohmann::json::array();
  }
  if (job.half_batch) take_fewer_rows_at_once(spec, job.max_workers);
  return spec;
}

Result<std::filesystem::path> prepare_run_directory(const std::filesystem::path& jobs_directory,
                                                    const JobRecord& job) {
  if (!is_plain_id(job.id)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("not a job id (letters, digits, - and _): {}", job.id.substr(0, 128)));
  }
  std::error_code error;
  const auto directory = std::filesystem::absolute(jobs_directory, error) / job.id;
  if (!error) std::filesystem::remove_all(directory / "exit", error);
  if (!error) std::filesystem::remove(directory / "result.json", error);
  if (!error) std::filesystem::create_directories(directory / "exit", error);
  if (error) return storage::fail_os("cannot prepare the run directory", directory, error);
  std::error_code none;
  const bool has_checkpoint = std::filesystem::exists(directory / "latest", none);
  const auto written = storage::write_file_atomically(
      directory / "job.json",
      attempt_spec(job, has_checkpoint)
              .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
          "\n");
  if (!written) return fail(written.error());
  return directory;
}

}  // namespace tunefleet::coordinator

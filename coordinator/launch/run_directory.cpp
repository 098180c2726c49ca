#include "coordinator/launch/run_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "storage/atomic_file.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

bool is_plain_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

}  // namespace

Result<std::filesystem::path> prepare_run_directory(const std::filesystem::path& jobs_directory,
                                                    const std::string& job,
                                                    const nlohmann::json& spec) {
  if (!is_plain_id(job)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("not a job id (letters, digits, - and _): {}", job.substr(0, 128)));
  }
  std::error_code error;
  const auto directory = std::filesystem::absolute(jobs_directory, error) / job;
  if (!error) std::filesystem::remove_all(directory / "exit", error);
  if (!error) std::filesystem::remove(directory / "result.json", error);
  if (!error) std::filesystem::create_directories(directory / "exit", error);
  if (error) return storage::fail_os("cannot prepare the run directory", directory, error);
  const auto written = storage::write_file_atomically(
      directory / "job.json",
      spec.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  if (!written) return fail(written.error());
  return directory;
}

}  // namespace tunefleet::coordinator

#include "coordinator/client/job_upload.h"

#include <fmt/format.h>

#include <map>
#include <random>

#include "coordinator/client/json_fields.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using Paths =
    std::map<std::string, std::filesystem::path>;  // As written in the job -> where it is.

Result<std::filesystem::path> find_dataset(const std::string& name,
                                           const std::filesystem::path& job_directory) {
  std::error_code error;
  for (const auto& path : {std::filesystem::path(name), job_directory / name}) {
    if (std::filesystem::is_regular_file(path, error)) return path;
    if (std::filesystem::is_directory(path, error)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("dataset: a directory, name the JSONL files in it: {}", name));
    }
  }
  return fail(ErrorCode::kNotFound, fmt::format("dataset: no such file: {}", name));
}

/// Every data set that has to go up; the ids among them are left out.
Result<Paths> find_all(const JobSpec& spec, const std::filesystem::path& job_directory) {
  Paths paths;
  for (const auto* list : {&spec.dataset, &spec.val_dataset}) {
    for (const auto& name : *list) {
      const auto path = find_dataset(name, job_directory);
      if (path) {
        paths[name] = *path;
      } else if (!name.starts_with("file-")) {
        return fail(path.error());
      }
    }
  }
  return paths;
}

/// All that the author could have set. What is unset stays out, and so does an empty directory: the
/// service chooses it.
json request_of(const JobSpec& spec) {
  json request = to_json(spec);
  for (auto item = request.begin(); item != request.end();) {
    item = item->is_null() ? request.erase(item) : std::next(item);
  }
  if (spec.output_dir.empty()) request.erase("output_dir");
  return request;
}

}  // namespace

Result<json> upload_datasets(ApiClient& client, const JobSpec& spec,
                             const std::filesystem::path& job_directory,
                             const UploadReporter& reporter) {
  const auto paths = find_all(spec, job_directory);
  if (!paths) return fail(paths.error());
  // A key that is refused is told before a long upload.
  if (const auto known = client.get("/v1/models"); !known) return fail(known.error());
  std::map<std::string, std::string> ids;
  for (const auto& [name, path] : *paths) {
    const auto file = client.upload(path, reporter ? reporter(name) : UploadProgress());
    if (!file) return fail(file.error());
    if (text_at(*file, "status") == "error") {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: {}", name, text_at(*file, "status_details")));
    }
    ids[name] = text_at(*file, "id");
  }
  json request = request_of(spec);
  for (const char* key : {"dataset", "val_dataset"}) {
    for (auto& name : request[key]) {
      const auto id = ids.find(name.get<std::string>());
      if (id != ids.end()) name = id->second;
    }
  }
  return request;
}

std::string random_idempotency_key() {
  std::random_device random;
  return fmt::format("submit-{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

}  // namespace tunefleet::coordinator

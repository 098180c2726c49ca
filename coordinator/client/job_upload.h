#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/client/api_client.h"
#include "proto/job_spec.h"

namespace tunefleet::coordinator {

/// Makes the reporter of one file's progress; it may return none.
using UploadReporter = std::function<UploadProgress(const std::string& file)>;

/// Uploads the data sets of a job and returns the body that creates it: the spec with the files'
/// ids in place of paths. A path is looked for from here and from `job_directory`, where the job
/// file lies; "file-…" that is no file here is taken as the id of one uploaded before. A file named
/// twice is uploaded once. kNotFound names a file that is missing, before anything is sent.
Result<nlohmann::json> upload_datasets(ApiClient& client, const JobSpec& spec,
                                       const std::filesystem::path& job_directory,
                                       const UploadReporter& reporter);

/// A key that makes a repeated request count once.
std::string random_idempotency_key();

}  // namespace tunefleet::coordinator

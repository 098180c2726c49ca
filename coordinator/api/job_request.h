#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/api/api_error.h"
#include "coordinator/api/file_store.h"
#include "coordinator/api/model_access.h"
#include "coordinator/api/model_catalog.h"
#include "coordinator/queue/job_store.h"
#include "proto/job_spec.h"

namespace tunefleet::coordinator {

/// What a request may name: base models, uploaded files, and what earlier jobs made.
struct JobResources {
  const ModelCatalog& models;
  const FileStore& files;
  JobStore& jobs;
  const ModelAccess& model_access;
  std::filesystem::path jobs_directory;
};

/// A request that was found good.
struct JobRequest {
  JobSpec spec;            ///< Model, data sets and adapters as absolute paths.
  nlohmann::json request;  ///< What the API gives back: model, training_file, validation_file,
                           ///< adapters, metadata, method.
};

/// Reads the body of POST /v1/fine_tuning/jobs: OpenAI's fields, and the job file's keys beside
/// them or inside hyperparameters (coordinator/api/api.md tells how the two meet). One 400 with
/// every problem, `param` being the first; an unknown model alone is 404. Nothing of the client's
/// is used as a path.
ApiResult<JobRequest> read_job_request(const nlohmann::json& body, const std::string& owner,
                                       const JobResources& resources);

/// The new job of a good request: queued, without an id.
JobRecord queued_job(const std::string& owner, JobRequest request);

}  // namespace tunefleet::coordinator

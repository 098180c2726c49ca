#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "coordinator/api/api_keys.h"
#include "coordinator/api/file_store.h"
#include "coordinator/api/model_catalog.h"
#include "coordinator/api/router.h"
#include "coordinator/fleet/fleet_service.h"
#include "coordinator/queue/job_store.h"

namespace tunefleet::coordinator {

/// What the handlers work on. All of it outlives the server, and all of it may be used from any
/// thread.
struct ApiContext {
  JobStore& jobs;
  FleetService& fleet;
  FileStore& files;
  ApiKeys& keys;
  const ModelCatalog& models;
  std::filesystem::path jobs_directory;
  std::function<int64_t()> now_ms;  ///< Unix milliseconds.
};

/// The job, if it is the caller's: 404 for anybody else's.
ApiResult<JobRecord> find_own_job(const ApiContext& context, const HttpRequest& request);

/// The routes, a file for each kind of thing.
std::vector<Route> file_routes(const ApiContext& context);
std::vector<Route> job_routes(const ApiContext& context);
std::vector<Route> event_routes(const ApiContext& context);
std::vector<Route> model_routes(const ApiContext& context);
std::vector<Route> fleet_routes(const ApiContext& context);

}  // namespace tunefleet::coordinator

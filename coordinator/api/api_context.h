#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "coordinator/api/access_control.h"
#include "coordinator/api/api_keys.h"
#include "coordinator/api/file_store.h"
#include "coordinator/api/job_request.h"
#include "coordinator/api/model_access.h"
#include "coordinator/api/model_catalog.h"
#include "coordinator/api/router.h"
#include "coordinator/api/upload_store.h"
#include "coordinator/fleet/fleet_service.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_store.h"
#include "coordinator/serving/serving_pool.h"
#include "coordinator/webhooks/webhook_service.h"

namespace tunefleet::coordinator {

/// What the handlers work on. All of it outlives the server, and all of it may be used from any
/// thread.
struct ApiContext {
  JobStore& jobs;
  SweepStore& sweeps;
  FleetService& fleet;
  FileStore& files;
  UploadStore& uploads;
  WebhookService& webhooks;
  ApiKeys& keys;
  const ModelCatalog& models;
  ModelAccess& model_access;
  ServingPool& serving;
  std::filesystem::path jobs_directory;
  std::filesystem::path audit_path;
  std::function<int64_t()> now_ms;    ///< Unix milliseconds.
  std::function<void()> wake_sweeps;  ///< Look at the sweeps now. Any thread.
  RateLimits limits{};

  /// What a job of a request may name.
  JobResources resources() const {
    return {.models = models,
            .files = files,
            .jobs = jobs,
            .model_access = model_access,
            .jobs_directory = jobs_directory};
  }
};

/// The job, if it is the caller's: 404 for anybody else's.
ApiResult<JobRecord> find_own_job(const ApiContext& context, const HttpRequest& request);

/// The routes, a file for each kind of thing.
std::vector<Route> file_routes(const ApiContext& context);
std::vector<Route> upload_routes(const ApiContext& context);
std::vector<Route> webhook_routes(const ApiContext& context);
std::vector<Route> job_routes(const ApiContext& context);
std::vector<Route> plan_routes(const ApiContext& context);
std::vector<Route> sweep_routes(const ApiContext& context);
std::vector<Route> event_routes(const ApiContext& context);
std::vector<Route> model_routes(const ApiContext& context);
std::vector<Route> chat_routes(const ApiContext& context);
std::vector<Route> fleet_routes(const ApiContext& context);
std::vector<Route> key_routes(const ApiContext& context);
std::vector<Route> permission_routes(const ApiContext& context);

}  // namespace tunefleet::coordinator

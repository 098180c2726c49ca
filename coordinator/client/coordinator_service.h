#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "coordinator/api/api_server.h"
#include "coordinator/fleet/fleet_service.h"
#include "coordinator/outbound/outbound_guard.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_store.h"
#include "coordinator/serving/serving_pool.h"
#include "coordinator/sweep/sweep_service.h"
#include "coordinator/webhooks/webhook_service.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

struct CoordinatorOptions {
  std::filesystem::path data;    ///< Of this process alone: lock, address, log, audit log.
  std::filesystem::path shared;  ///< Files, jobs, keys, webhooks: the same one for every
                                 ///< coordinator on one Redis. Empty: `data`.
  std::filesystem::path models;  ///< Empty: <shared>/models.
  std::string redis;             ///< unix:///path or redis://host:port/db
  std::string host = "127.0.0.1";
  int port = 8770;
  std::string fleet_endpoint = "tcp://127.0.0.1:*";
  OutboundPolicy webhook_policy;  ///< What users' webhooks may call beyond public https.
  RateLimits limits{};
  std::filesystem::path
      tenants;               ///< Weights and quotas (fleet/tenant_policies.h); empty: all alike.
  ServingOptions serving{};  ///< Its log is <data>/serving.log; of an empty program see start().
};

/// The coordinator inside this process: the store, the fleet and the API, with their threads.
class CoordinatorService {
 public:
  /// Makes what is missing under the data directory, connects, binds. The error says which part
  /// failed and why. Models are served by the tunefleet-trainer beside this program (or what
  /// TUNEFLEET_TRAINER names) when `serving` names no program; without one they are not.
  static Result<std::unique_ptr<CoordinatorService>> start(const CoordinatorOptions& options);
  ~CoordinatorService();

  /// "http://127.0.0.1:8770"; a wildcard host is shown as loopback.
  std::string url() const;
  std::filesystem::path key_file() const { return keys_->admin_key_path(); }
  const FleetService& fleet() const { return *fleet_; }
  const ModelCatalog& models() const { return *models_; }
  /// Writes <data>/endpoint.json, where the command line finds the service; forget() removes it.
  Status announce() const;
  void forget() const;
  /// No new requests, no new starts; what is stored stays.
  void stop();
  /// After stop(), when the ranks have gone with the service: says so in every job that was
  /// running, and queues it again (or does what it was stopping for).
  void settle_interrupted();

 private:
  explicit CoordinatorService(const CoordinatorOptions& options) : options_(options) {}
  Status open();

  CoordinatorOptions options_;
  // In the order they are built; the last ones use the first.
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<SweepStore> sweep_store_;
  std::unique_ptr<ApiKeys> keys_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<UploadStore> uploads_;
  std::unique_ptr<ModelCatalog> models_;
  std::unique_ptr<ModelAccess> model_access_;
  std::unique_ptr<FleetService> fleet_;
  std::unique_ptr<WebhookService> webhooks_;
  std::unique_ptr<ServingPool> serving_;
  std::unique_ptr<SweepService> sweeps_;
  std::unique_ptr<ApiServer> api_;
};

}  // namespace tunefleet::coordinator

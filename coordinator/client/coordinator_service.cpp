#include "coordinator/client/coordinator_service.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/api/private_directory.h"
#include "coordinator/client/sibling_command.h"
#include "coordinator/fleet/tenant_policies.h"
#include "proto/log.h"
#include "storage/atomic_file.h"

namespace tunefleet::coordinator {
namespace {

int64_t now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

int64_t now_s() { return now_ms() / 1000; }

/// What only one coordinator at a time can hold: this machine's data directory, which is locked.
std::string place_of(const std::filesystem::path& data) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("{}:{}", host.data(), data.string());
}

/// The program whose children answer conversations; empty when there is none.
std::vector<std::string> serving_program() {
  const char* named = std::getenv("TUNEFLEET_TRAINER");
  if (named != nullptr && *named != '\0') return {named, "serve"};
  const auto beside = sibling_program("tunefleet-trainer");
  if (!beside) return {};
  return {beside->string(), "serve"};
}

/// Where a job goes whose ranks have gone with the service, and what is said about it.
std::pair<JobPhase, TransitionChange> interrupted(StopReason stop) {
  TransitionChange change;
  const JobPhase phase = phase_after_stop(stop);
  change.event_message =
      phase == JobPhase::kQueued
          ? "The service was stopped; the job goes on from its last checkpoint when it is back"
          : fmt::format("The service was stopped, and the job is {}", phase_name(phase));
  return {phase, std::move(change)};
}

/// Without a file all tenants are alike.
Result<std::vector<TenantPolicy>> tenants_of(const std::filesystem::path& file) {
  return file.empty() ? Result<std::vector<TenantPolicy>>{} : read_tenant_policies(file);
}

}  // namespace

Result<std::unique_ptr<CoordinatorService>> CoordinatorService::start(
    const CoordinatorOptions& options) {
  std::unique_ptr<CoordinatorService> service(new CoordinatorService(options));
  service->options_.data = std::filesystem::absolute(options.data);
  service->options_.shared =
      options.shared.empty() ? service->options_.data : std::filesystem::absolute(options.shared);
  if (options.models.empty()) service->options_.models = service->options_.shared / "models";
  if (const auto opened = service->open(); !opened) return fail(opened.error());
  return service;
}

CoordinatorService::~CoordinatorService() { stop(); }

Status CoordinatorService::open() {
  const auto jobs_directory = options_.shared / "jobs";
  const auto webhooks_directory = options_.shared / "webhooks";
  for (const auto& directory :
       {options_.data, options_.shared, jobs_directory, webhooks_directory}) {
    if (const auto made = make_private_directory(directory); !made) return made;
  }
  auto store = open_redis_job_store(options_.redis);
  if (!store) return fail("opening the job store", store.error());
  store_ = std::move(*store);
  auto sweep_store = open_redis_sweep_store(options_.redis);
  if (!sweep_store) return fail("opening the sweeps", sweep_store.error());
  sweep_store_ = std::move(*sweep_store);
  if (const auto answered = store_->ping(); !answered) {
    return fail("opening the job store", answered.error());
  }
  auto keys = ApiKeys::open(options_.shared, now_s);
  if (!keys) return fail("opening the API keys", keys.error());
  keys_ = std::move(*keys);
  auto files = FileStore::open(options_.shared / "files", now_s);
  if (!files) return fail("opening the uploaded files", files.error());
  files_ = std::move(*files);
  auto uploads = UploadStore::open(options_.shared / "uploads", *files_, now_s);
  if (!uploads) return fail("opening the uploads in parts", uploads.error());
  uploads_ = std::move(*uploads);
  models_ = std::make_unique<ModelCatalog>(options_.models);
  auto access = ModelAccess::open(options_.shared / "model_access.json", now_s);
  if (!access) return fail("opening the models' permissions", access.error());
  model_access_ = std::move(*access);
  auto tenants = tenants_of(options_.tenants);
  if (!tenants) return fail("reading the tenants", tenants.error());
  auto fleet = FleetService::start({.place = place_of(options_.data),
                                    .endpoint = options_.fleet_endpoint,
                                    .keys_directory = options_.shared / "keys",
                                    .jobs_directory = jobs_directory,
                                    .tenants = *std::move(tenants)},
                                   *store_);
  if (!fleet) return fail("starting the fleet", fleet.error());
  fleet_ = std::move(*fleet);
  auto webhooks = WebhookService::start(*store_, {.directory = webhooks_directory,
                                                  .guard = OutboundGuard(options_.webhook_policy),
                                                  .now_ms = now_ms,
                                                  .leads = [this] { return fleet_->leads(); }});
  if (!webhooks) return fail("starting the webhooks", webhooks.error());
  webhooks_ = std::move(*webhooks);
  options_.serving.log = options_.data / "serving.log";
  if (options_.serving.program.empty() && options_.serving.max_servers > 0) {
    options_.serving.program = serving_program();
  }
  serving_ = std::make_unique<ServingPool>(options_.serving);
  sweeps_ = std::make_unique<SweepService>(*store_, *sweep_store_, [this] { fleet_->wake(); });
  auto api = ApiServer::start({.host = options_.host, .port = options_.port},
                              {.jobs = *store_,
                               .sweeps = *sweep_store_,
                               .fleet = *fleet_,
                               .files = *files_,
                               .uploads = *uploads_,
                               .webhooks = *webhooks_,
                               .keys = *keys_,
                               .models = *models_,
                               .model_access = *model_access_,
                               .serving = *serving_,
                               .jobs_directory = jobs_directory,
                               .audit_path = options_.data / "audit.jsonl",
                               .now_ms = now_ms,
                               .wake_sweeps = [this] { sweeps_->wake(); },
                               .limits = options_.limits});
  if (!api) return fail("starting the API", api.error());
  api_ = std::move(*api);
  return {};
}

std::string CoordinatorService::url() const {
  const bool any = options_.host == "0.0.0.0" || options_.host == "::";
  return fmt::format("http://{}:{}", any ? "127.0.0.1" : options_.host, api_->port());
}

Status CoordinatorService::announce() const {
  const nlohmann::json endpoint{{"url", url()}, {"key_file", key_file().string()}};
  return storage::write_file_atomically(options_.data / "endpoint.json", endpoint.dump(2) + "\n");
}

void CoordinatorService::forget() const {
  std::error_code error;
  std::filesystem::remove(options_.data / "endpoint.json", error);
}

void CoordinatorService::stop() {
  if (webhooks_) webhooks_->stop();  // Before the API: it also ends tests that a request waits for.
  if (serving_) serving_->stop();    // Likewise: requests wait for their answers.
  if (api_) api_->stop();
  api_.reset();
  sweeps_.reset();  // It wakes the fleet.
  fleet_.reset();
}

void CoordinatorService::settle_interrupted() {
  if (!store_) return;
  const auto running = store_->running();
  if (!running) return log::warning("the jobs that ran are not marked: " + running.error().message);
  for (const JobRecord& job : *running) {
    const auto [phase, change] = interrupted(job.stop);
    const auto ended = store_->transition(job.id, job.attempt, JobPhase::kRunning, phase, change);
    if (!ended)
      log::warning(fmt::format("job {} is not marked: {}", job.id, ended.error().message));
  }
}

}  // namespace tunefleet::coordinator

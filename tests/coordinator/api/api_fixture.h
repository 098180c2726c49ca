#pragma once

#include <gtest/gtest.h>
#include <httplib.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/api/api_server.h"
#include "coordinator/fleet/fleet_service.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/queue/sweep_store.h"

namespace tunefleet::coordinator {

/// A directory of the test's own, gone with it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Path of the test double of `tunefleet-trainer serve`.
std::string fake_model_server();

/// Tells what the test wrote into it; counts the wakes.
class ScriptedFleet : public FleetService {
 public:
  std::string endpoint() const override { return "tcp://127.0.0.1:1"; }
  void wake() override { ++wakes; }
  std::vector<AgentView> agents() const override { return view; }
  QueuePosition position(const std::string&) const override { return queue; }
  /// The real planner, on the fleet of `view` and no other jobs.
  StartPreview preview(const WaitingJob& job) const override {
    PlanInput input{.now_ms = 1'800'000'000'000};
    for (const auto& agent : view)
      input.agents.push_back(
          {.host = agent.host, .slots = agent.slots, .free_slots = agent.free_slots});
    return preview_start(std::move(input), job);
  }

  std::atomic<int> wakes{0};
  std::vector<AgentView> view{
      {.host = "node-a", .slots = 2, .free_slots = 1, .cuda = false, .alive = true, .jobs = {}}};
  QueuePosition queue{.position = 1, .reason = "waiting for 2 free slots (1 free of 2)"};
};

/// Hands every call to the store in memory, or answers kUnavailable while it is cut off.
class CuttableStore : public JobStore {
 public:
  explicit CuttableStore(std::function<int64_t()> now_ms)
      : store_(make_memory_job_store(std::move(now_ms))) {}

  Result<JobRecord> create(const JobRecord& job, const std::string& key) override {
    if (cut_off) return gone();
    auto made = store_->create(job, key);
    if (lose_replies > 0 && made) {
      --lose_replies;
      return gone();
    }
    return made;
  }
  Result<JobRecord> get(const std::string& id) override {
    if (cut_off) return gone();
    return store_->get(id);
  }
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t limit) override {
    if (cut_off) return gone();
    return store_->list(owner, after, limit);
  }
  Result<std::vector<JobRecord>> queued() override {
    if (cut_off) return gone();
    return store_->queued();
  }
  Result<std::vector<JobRecord>> running() override {
    if (cut_off) return gone();
    return store_->running();
  }
  Result<JobStanding> transition(const std::string& id, int64_t attempt, JobPhase from, JobPhase to,
                                 const TransitionChange& change) override {
    return store_->transition(id, attempt, from, to, change);
  }
  Result<std::vector<JobRecord>> in_group(const std::string& group) override {
    if (cut_off) return gone();
    return store_->in_group(group);
  }
  Result<JobRecord> request_stop(const std::string& id, StopReason reason,
                                 const std::string& message, int64_t leader) override {
    if (cut_off) return gone();
    return store_->request_stop(id, reason, message, leader);
  }
  Result<JobRecord> resume(const std::string& id) override {
    if (cut_off) return gone();
    return store_->resume(id);
  }
  Result<Leadership> lead(const std::string& place, const std::string& process,
                          int64_t ttl_ms) override {
    return store_->lead(place, process, ttl_ms);
  }
  Status resign(const std::string& process) override { return store_->resign(process); }
  Status append_event(const std::string& id, int64_t attempt, int64_t number,
                      const JobEventRecord& event) override {
    return store_->append_event(id, attempt, number, event);
  }
  Result<EventPage> events_before(const std::string& id, int64_t before, int64_t limit) override {
    if (cut_off) return gone();
    return store_->events_before(id, before, limit);
  }
  Result<EventPage> events_after(const std::string& id, int64_t after, int64_t limit) override {
    if (cut_off) return gone();
    return store_->events_after(id, after, limit);
  }
  Result<int64_t> event_number(const std::string& id, const std::string& event) override {
    if (cut_off) return gone();
    return store_->event_number(id, event);
  }
  Status set_progress(const std::string& id, int64_t attempt,
                      const nlohmann::json& progress) override {
    return store_->set_progress(id, attempt, progress);
  }
  Status ping() override {
    if (cut_off) return gone();
    return store_->ping();
  }

  std::atomic<bool> cut_off{false};
  std::atomic<int> lose_replies{0};  ///< The next creations happen, but answer kUnavailable.

 private:
  static tl::unexpected<Error> gone() {
    return fail(ErrorCode::kUnavailable, "the job store does not answer");
  }
  std::unique_ptr<JobStore> store_;
};

/// The whole API on a free port, with the store in memory and two owners: admin and another.
class ApiTest : public testing::Test {
 protected:
  ApiTest();

  /// Starts the API anew, with other limits.
  void serve(const RateLimits& limits);
  /// A new key.
  std::string key_of(const std::string& tenant, Scope scope);
  httplib::Client client(const std::string& key);
  httplib::Client client() { return client(key_); }
  static nlohmann::json body_of(const httplib::Result& result);
  /// Checks status and OpenAI's error shape; returns the error object.
  static nlohmann::json error_of(const httplib::Result& result, int status);

  httplib::Result upload(const std::string& content, const std::string& filename = "train.jsonl",
                         const std::string& purpose = "fine-tune");
  /// Uploads two good rows; the file's id.
  std::string good_file();
  httplib::Result create(const nlohmann::json& body, const httplib::Headers& headers = {});
  /// A job that waits; its id.
  std::string waiting_job(const nlohmann::json& more = nlohmann::json::object());
  void start(const std::string& id);
  /// Ends a running job well, with a checkpoint on disk.
  void finish(const std::string& id);
  void add_event(const std::string& id, const std::string& type, const std::string& message,
                 const nlohmann::json& data = nullptr);

  TemporaryDirectory directory_;
  std::atomic<int64_t> now_ms_{1'800'000'000'000};
  CuttableStore store_{[this] { return now_ms_.load(); }};
  std::unique_ptr<SweepStore> sweeps_ = make_memory_sweep_store([this] { return now_ms_.load(); });
  std::atomic<int> sweep_wakes_{0};
  ScriptedFleet fleet_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<UploadStore> uploads_;
  std::unique_ptr<WebhookService> webhooks_;
  std::unique_ptr<ApiKeys> keys_;
  std::unique_ptr<ModelCatalog> models_;
  std::unique_ptr<ModelAccess> model_access_;
  std::unique_ptr<ServingPool> serving_;
  std::unique_ptr<ApiServer> server_;
  std::string key_;
  std::string other_key_;
  int64_t events_ = 0;
};

}  // namespace tunefleet::coordinator

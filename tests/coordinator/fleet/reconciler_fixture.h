#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/fleet/fleet_reconciler.h"
#include "coordinator/launch/run_directory.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {

/// A store that can be taken away.
class AwayStore : public JobStore {
 public:
  bool away = false;
  int64_t now_ms = 1;

  Result<JobRecord> create(const JobRecord& job, const std::string& key) override {
    return away ? gone() : inner_->create(job, key);
  }
  Result<JobRecord> get(const std::string& id) override { return away ? gone() : inner_->get(id); }
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t n) override {
    return away ? Result<JobPage>(gone()) : inner_->list(owner, after, n);
  }
  Result<std::vector<JobRecord>> queued() override {
    return away ? Result<std::vector<JobRecord>>(gone()) : inner_->queued();
  }
  Result<std::vector<JobRecord>> running() override {
    return away ? Result<std::vector<JobRecord>>(gone()) : inner_->running();
  }
  Result<JobStanding> transition(const std::string& id, int64_t attempt, JobPhase from, JobPhase to,
                                 const TransitionChange& change) override {
    return away ? Result<JobStanding>(gone()) : inner_->transition(id, attempt, from, to, change);
  }
  Result<std::vector<JobRecord>> in_group(const std::string& group) override {
    return away ? Result<std::vector<JobRecord>>(gone()) : inner_->in_group(group);
  }
  Result<JobRecord> request_stop(const std::string& id, StopReason reason,
                                 const std::string& message, int64_t leader) override {
    return away ? gone() : inner_->request_stop(id, reason, message, leader);
  }
  Result<JobRecord> resume(const std::string& id) override {
    return away ? gone() : inner_->resume(id);
  }
  Result<Leadership> lead(const std::string& place, const std::string& process,
                          int64_t ttl_ms) override {
    return away ? Result<Leadership>(gone()) : inner_->lead(place, process, ttl_ms);
  }
  Status resign(const std::string& process) override {
    return away ? Status(gone()) : inner_->resign(process);
  }
  Status append_event(const std::string& id, int64_t attempt, int64_t number,
                      const JobEventRecord& event) override {
    return away ? Status(gone()) : inner_->append_event(id, attempt, number, event);
  }
  Result<EventPage> events_before(const std::string& id, int64_t before, int64_t n) override {
    return away ? Result<EventPage>(gone()) : inner_->events_before(id, before, n);
  }
  Result<EventPage> events_after(const std::string& id, int64_t after, int64_t n) override {
    return away ? Result<EventPage>(gone()) : inner_->events_after(id, after, n);
  }
  Result<int64_t> event_number(const std::string& id, const std::string& event) override {
    return away ? Result<int64_t>(gone()) : inner_->event_number(id, event);
  }
  Status set_progress(const std::string& id, int64_t attempt,
                      const nlohmann::json& progress) override {
    return away ? Status(gone()) : inner_->set_progress(id, attempt, progress);
  }
  Status ping() override { return away ? Status(gone()) : inner_->ping(); }

 private:
  static tl::unexpected<Error> gone() { return fail(ErrorCode::kUnavailable, "store is away"); }
  std::unique_ptr<JobStore> inner_ = make_memory_job_store([this] { return now_ms; });
};

/// The reconciler in a world of values: a clock the test moves, an agent the test speaks for.
class FleetReconcilerTest : public testing::Test {
 protected:
  FleetReconcilerTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tf-fleet-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    restart();
  }
  ~FleetReconcilerTest() override { std::filesystem::remove_all(directory_); }

  /// A coordinator that knows nothing but the store.
  void restart() {
    reconciler_ = std::make_unique<FleetReconciler>(
        store_,
        ReconcilerOptions{
            .jobs_directory = directory_,
            .prepare =
                [this](const JobRecord& job) { return prepare_run_directory(directory_, job); },
            .unix_ms = [this] { return store_.now_ms; },
            .rank_endpoint = "tcp://127.0.0.1:1"},
        [this](const std::string& peer, wire::Envelope envelope) {
          sent_.emplace_back(peer, std::move(envelope));
        });
  }

  void submit(const std::string& id, int64_t workers = 2, int64_t priority = 0) {
    ASSERT_TRUE(store_.create({.id = id,
                               .phase = JobPhase::kQueued,
                               .priority = priority,
                               .workers = workers,
                               .min_workers = workers,
                               .max_workers = workers,
                               .spec = {{"seed", 1}}},
                              ""));
    reconciler_->look_again();
  }

  void beat(std::vector<GangId> gangs = {}, const std::string& peer = "peer-a",
            const std::string& host = "host-a", wire::GangRole role = wire::GANG_LEAD) {
    wire::Envelope envelope;
    envelope.mutable_agent_beat()->set_host(host);
    envelope.mutable_agent_beat()->set_slots(2);
    for (const auto& id : gangs) {
      auto& gang = *envelope.mutable_agent_beat()->add_gangs();
      gang.set_job(id.job);
      gang.set_attempt(static_cast<uint64_t>(id.attempt));
      gang.set_role(role);
    }
    message(std::move(envelope), peer);
  }

  void message(wire::Envelope envelope, const std::string& peer = "peer-a") {
    envelope.set_version(kWireVersion);
    envelope.set_sequence(++sequence_);
    reconciler_->on_message(peer, envelope, now_ms_);
  }

  /// What a rank of job "j" tells while it trains.
  void rank_beat(int rank, int step) {
    wire::Envelope envelope;
    auto& told = *envelope.mutable_rank_beat();
    told.set_job("j");
    told.set_attempt(1);
    told.set_rank(static_cast<uint32_t>(rank));
    told.set_host("host-a");
    told.set_phase("training");
    told.set_step(static_cast<uint64_t>(step));
    message(envelope, "rank");
  }

  void gang_ended(const GangId& id, bool succeeded, const std::string& why = "",
                  const std::string& code = "unavailable") {
    wire::Envelope envelope;
    auto& ended = *envelope.mutable_gang_ended();
    ended.set_job(id.job);
    ended.set_attempt(static_cast<uint64_t>(id.attempt));
    ended.set_succeeded(succeeded);
    if (!succeeded) {
      ended.mutable_failure()->set_rank(1);
      ended.mutable_failure()->set_host("host-a");
      ended.mutable_failure()->set_code(code);
      ended.mutable_failure()->set_message(why);
    }
    message(std::move(envelope));
  }

  /// Moves the clock in steps of a second; the agent beats with `gangs` when `beating`.
  void pass(int seconds, bool beating = true, std::vector<GangId> gangs = {}) {
    for (int i = 0; i < seconds; ++i) {
      now_ms_ += 1000;
      store_.now_ms += 1000;
      if (beating) beat(gangs);
      tick();
    }
  }
  void tick() { reconciler_->on_tick(now_ms_); }

  std::vector<wire::Envelope> take_sent(wire::Envelope::BodyCase body) {
    std::vector<wire::Envelope> found;
    for (const auto& [peer, envelope] : sent_) {
      if (envelope.body_case() == body) found.push_back(envelope);
    }
    sent_.clear();
    return found;
  }
  JobPhase phase(const std::string& id) { return store_.get(id)->phase; }

  std::filesystem::path directory_;
  AwayStore store_;
  std::unique_ptr<FleetReconciler> reconciler_;
  std::vector<std::pair<std::string, wire::Envelope>> sent_;
  int64_t now_ms_ = 1'000'000;
  uint64_t sequence_ = 0;
};

}  // namespace tunefleet::coordinator

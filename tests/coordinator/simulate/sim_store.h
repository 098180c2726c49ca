#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/queue/job_store.h"
#include "tests/coordinator/simulate/sim_random.h"

namespace tunefleet::simulate {

using coordinator::EventPage;
using coordinator::JobEventRecord;
using coordinator::JobPage;
using coordinator::JobPhase;
using coordinator::JobRecord;
using coordinator::JobStanding;
using coordinator::JobStore;
using coordinator::Leadership;
using coordinator::StopReason;
using coordinator::TransitionChange;

/// One process' way to the shared store: calls get lost, or their answers do.
class SimStore : public JobStore {
 public:
  struct Faults {
    double lost_call = 0.0;    ///< Nothing was changed,
    double lost_answer = 0.0;  ///< or it was: the caller is told kUnavailable both times.
    bool away = false;
    // Broken on purpose, see Breakage.
    bool no_leader_fence = false;
    bool forgetful_sweep_stop = false;
    /// Slots of the fleet; jobs that do not fit into what is free of them are hidden. 0: none is.
    int64_t hides_beyond = 0;
  };

  /// Told of every job that changed: as it was and as it is.
  using Watch = std::function<void(const JobRecord&, const JobRecord&)>;

  SimStore(JobStore& shared, uint64_t seed, uint64_t stream, Watch watch)
      : shared_(shared), draws_(seed, stream), watch_(std::move(watch)) {}
  Faults& faults() { return faults_; }

  /// Told of every job that a sweep stops.
  void on_sweep_stop(std::function<void(const std::string&)> told) {
    sweep_stop_ = std::move(told);
  }
  /// Makes a call, unless it or its answer gets lost.
  template <typename Call>
  auto call(Call made) -> decltype(made()) {
    const bool lost = draws_.chance(faults_.lost_call);
    const bool mute = draws_.chance(faults_.lost_answer);
    if (faults_.away || lost) return fail(ErrorCode::kUnavailable, "the store does not answer");
    auto answer = made();
    if (mute) return fail(ErrorCode::kUnavailable, "the answer was lost");
    return answer;
  }

  Result<JobRecord> create(const JobRecord& job, const std::string& key) override {
    return call([&] { return shared_.create(job, key); });
  }
  Result<JobRecord> get(const std::string& id) override {
    return call([&] { return shared_.get(id); });
  }
  Result<JobPage> list(const std::string& owner, const std::string& after, int64_t n) override {
    return call([&] { return shared_.list(owner, after, n); });
  }
  Result<std::vector<JobRecord>> in_group(const std::string& group) override {
    return call([&] { return shared_.in_group(group); });
  }
  Result<std::vector<JobRecord>> queued() override {
    return call([&] {
      auto jobs = shared_.queued();
      if (faults_.hides_beyond > 0) std::erase_if(*jobs, does_not_fit());
      return jobs;
    });
  }
  Result<std::vector<JobRecord>> running() override {
    return call([&] { return shared_.running(); });
  }
  Result<JobStanding> transition(const std::string& id, int64_t attempt, JobPhase from, JobPhase to,
                                 const TransitionChange& change) override {
    TransitionChange asked = change;
    if (faults_.no_leader_fence) asked.leader = 0;
    return changing(id, [&] { return shared_.transition(id, attempt, from, to, asked); });
  }
  Result<JobRecord> request_stop(const std::string& id, StopReason reason,
                                 const std::string& message, int64_t leader) override {
    return changing(id, [&] {
      if (reason == StopReason::kSweep && sweep_stop_) sweep_stop_(id);
      const bool forgets = faults_.forgetful_sweep_stop && reason == StopReason::kSweep;
      return shared_.request_stop(id, forgets ? StopReason::kPreempt : reason, message,
                                  faults_.no_leader_fence ? 0 : leader);
    });
  }
  Result<JobRecord> resume(const std::string& id) override {
    return changing(id, [&] { return shared_.resume(id); });
  }
  Status append_event(const std::string& id, int64_t attempt, int64_t number,
                      const JobEventRecord& event) override {
    return call([&] { return shared_.append_event(id, attempt, number, event); });
  }
  Result<EventPage> events_before(const std::string& id, int64_t before, int64_t n) override {
    return call([&] { return shared_.events_before(id, before, n); });
  }
  Result<EventPage> events_after(const std::string& id, int64_t after, int64_t n) override {
    return call([&] { return shared_.events_after(id, after, n); });
  }
  Result<int64_t> event_number(const std::string& id, const std::string& event) override {
    return call([&] { return shared_.event_number(id, event); });
  }
  Status set_progress(const std::string& id, int64_t attempt,
                      const nlohmann::json& progress) override {
    return call([&] { return shared_.set_progress(id, attempt, progress); });
  }
  Result<Leadership> lead(const std::string& place, const std::string& process,
                          int64_t ttl_ms) override {
    return call([&] { return shared_.lead(place, process, ttl_ms); });
  }
  Status resign(const std::string& process) override {
    return call([&] { return shared_.resign(process); });
  }
  Status ping() override {
    return call([&] { return shared_.ping(); });
  }

 private:
  std::function<bool(const JobRecord&)> does_not_fit() {
    int64_t free_slots = faults_.hides_beyond;
    const auto running = shared_.running();
    for (const JobRecord& job : *running) free_slots -= job.workers;
    return [free_slots](const JobRecord& job) { return job.min_workers > free_slots; };
  }

  template <typename Call>
  auto changing(const std::string& id, Call made) -> decltype(made()) {
    return call([&] {
      const auto before = shared_.get(id);
      auto answer = made();
      const auto after = shared_.get(id);
      if (before && after) watch_(*before, *after);
      return answer;
    });
  }

  JobStore& shared_;
  Draws draws_;
  Watch watch_;
  std::function<void(const std::string&)> sweep_stop_{};
  Faults faults_;
};

}  // namespace tunefleet::simulate

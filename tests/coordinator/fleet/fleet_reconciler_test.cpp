#include "coordinator/fleet/fleet_reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/launch/run_directory.h"
#include "proto/wire.pb.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

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

TEST_F(FleetReconcilerTest, AJobStartsOnTheAgentWithItsRunDirectoryReady) {
  submit("j");
  beat();
  tick();
  const auto starts = take_sent(wire::Envelope::kStartGang);
  ASSERT_THAT(starts, SizeIs(1));
  const auto& start = starts[0].start_gang();
  EXPECT_EQ(start.job(), "j");
  EXPECT_EQ(start.attempt(), 1U);
  EXPECT_EQ(start.ranks(), 2U);
  EXPECT_EQ(start.run_directory(), (directory_ / "j").string());
  EXPECT_EQ(start.rank_endpoint(), "tcp://127.0.0.1:1");
  EXPECT_TRUE(std::filesystem::exists(directory_ / "j/job.json"));
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_EQ(store_.get("j")->lead_host(), "host-a");
  EXPECT_THAT(reconciler_->agents()[0].jobs, ElementsAre("j"));
}

TEST_F(FleetReconcilerTest, WaitingJobsAreToldWhy) {
  submit("wide", 4);
  tick();
  EXPECT_EQ(reconciler_->positions()->at("wide").reason, "no agent is connected");
  submit("a");
  submit("b");
  beat();
  tick();
  EXPECT_EQ(phase("a"), JobPhase::kRunning);
  EXPECT_THAT(reconciler_->positions()->at("wide").reason,
              HasSubstr("needs 4 slots, the fleet has 2"));
  EXPECT_EQ(reconciler_->positions()->at("b").position, 2);
  EXPECT_EQ(reconciler_->positions()->at("b").reason, "waiting for 2 slots (0 free of 2)");
}

TEST_F(FleetReconcilerTest, WhatWasPlannedOnCanBePlannedOnAgain) {
  EXPECT_EQ(reconciler_->planned(), nullptr);
  submit("j");
  beat();
  tick();
  reconciler_->look_again();
  pass(1, true, {{"j", 1}});
  const auto planned = reconciler_->planned();
  ASSERT_NE(planned, nullptr);
  const WaitingJob wide{.id = "new", .min_workers = 2, .max_workers = 2};
  const auto preview = preview_start(*planned, wide);
  EXPECT_TRUE(preview.known);
  EXPECT_EQ(preview.position, 1);
  EXPECT_THAT(preview.reason, HasSubstr("0 free of 2"));
}

TEST_F(FleetReconcilerTest, StartIsSentAgainUntilTheBeatsListTheGang) {
  submit("j");
  beat();
  tick();
  pass(3);
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), SizeIs(4));
  pass(3, true, {{"j", 1}});
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), IsEmpty());
}

TEST_F(FleetReconcilerTest, SuccessIsStoredThenAcknowledgedAndTheNextJobStarts) {
  submit("a");
  submit("b");
  beat();
  tick();
  pass(1, true, {{"a", 1}});
  sent_.clear();
  gang_ended({"a", 1}, true);
  EXPECT_EQ(phase("a"), JobPhase::kSucceeded);
  EXPECT_TRUE(reconciler_->wants_tick());
  beat();
  tick();
  EXPECT_EQ(phase("b"), JobPhase::kRunning);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(1));
}

TEST_F(FleetReconcilerTest, AFailureReachesTheJobWithRankAndHost) {
  submit("j");
  beat();
  tick();
  gang_ended({"j", 1}, false, "no such file: x.jsonl", "not_found");
  const auto job = *store_.get("j");
  EXPECT_EQ(job.phase, JobPhase::kFailed);
  EXPECT_EQ(job.error->message, "rank 1 on host-a failed: no such file: x.jsonl");
  EXPECT_EQ(job.failure["rank"], 1);
}

TEST_F(FleetReconcilerTest, AKilledRankIsTriedAgainAfterAPause) {
  submit("j");
  beat();
  tick();
  gang_ended({"j", 1}, false, "killed by SIGKILL (out of memory?)");
  EXPECT_EQ(phase("j"), JobPhase::kQueued);
  beat();
  tick();
  EXPECT_EQ(phase("j"), JobPhase::kQueued) << "not at once";
  EXPECT_THAT(reconciler_->positions()->at("j").reason, HasSubstr("again"));
  pass(3);
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_EQ(store_.get("j")->attempt, 2);
}

TEST_F(FleetReconcilerTest, AnEndIsNotLostWhileTheStoreIsAway) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  sent_.clear();
  store_.away = true;
  gang_ended({"j", 1}, true);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), IsEmpty());
  for (int i = 0; i < 20; ++i) {
    pass(1);
    gang_ended({"j", 1}, true);  // As the agent does each second.
  }
  EXPECT_THAT(take_sent(wire::Envelope::kAck), IsEmpty());
  store_.away = false;
  pass(1);
  EXPECT_EQ(phase("j"), JobPhase::kRunning) << "given up on nothing meanwhile";
  gang_ended({"j", 1}, true);
  EXPECT_EQ(phase("j"), JobPhase::kSucceeded);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(1));
}

TEST_F(FleetReconcilerTest, ALateEndChangesNothingAndIsAcknowledged) {
  submit("j");
  beat();
  tick();
  gang_ended({"j", 1}, true);
  gang_ended({"j", 1}, false, "killed by SIGKILL");
  gang_ended({"unknown", 1}, true);
  EXPECT_EQ(phase("j"), JobPhase::kSucceeded);
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(3));
}

TEST_F(FleetReconcilerTest, ARunningJobIsCancelledWhenItsGangHasStopped) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  ASSERT_TRUE(store_.request_stop("j", StopReason::kCancel, "", 0));
  reconciler_->look_again();
  tick();
  const auto stops = take_sent(wire::Envelope::kStopGang);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_EQ(stops[0].stop_gang().grace_ms(), 10'000U);
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  gang_ended({"j", 1}, false, "asked to stop", "cancelled");
  EXPECT_EQ(phase("j"), JobPhase::kCancelled);
}

TEST_F(FleetReconcilerTest, AJobOfASilentAgentGoesOnElsewhereAfterTheGrace) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  for (int i = 0; i < 8; ++i) {
    pass(1, false);
    beat({}, "peer-b", "host-b");
  }
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_FALSE(reconciler_->agents()[0].alive);
  for (int i = 0; i < 5; ++i) {
    beat({}, "peer-b", "host-b");
    pass(1, false);
  }
  const auto job = *store_.get("j");
  EXPECT_EQ(job.phase, JobPhase::kRunning);
  EXPECT_EQ(job.attempt, 2);
  EXPECT_EQ(job.lead_host(), "host-b");
  EXPECT_THAT(job.excluded_hosts, ElementsAre("host-a"));
}

TEST_F(FleetReconcilerTest, AGangOverTwoAgentsStartsWhenBothKeepItsSlots) {
  submit("wide", 4);
  beat();
  beat({}, "peer-b", "host-b");
  tick();
  EXPECT_EQ(phase("wide"), JobPhase::kQueued);
  EXPECT_THAT(take_sent(wire::Envelope::kReserveSlots), SizeIs(2));
  beat({{"wide", 1}}, "peer-a", "host-a", wire::GANG_RESERVED);
  tick();
  EXPECT_EQ(phase("wide"), JobPhase::kQueued) << "one is not enough";
  beat({{"wide", 1}}, "peer-b", "host-b", wire::GANG_RESERVED);
  tick();
  const auto job = *store_.get("wide");
  ASSERT_EQ(job.phase, JobPhase::kRunning);
  EXPECT_EQ(job.placement.size(), 2U);
  const auto starts = take_sent(wire::Envelope::kStartGang);
  ASSERT_THAT(starts, SizeIs(1));
  EXPECT_EQ(starts[0].start_gang().parts_size(), 2);
  EXPECT_EQ(starts[0].start_gang().ranks(), 4U);
}

TEST_F(FleetReconcilerTest, AGangThatOneAgentRefusesHoldsNoSlots) {
  submit("wide", 4);
  beat();
  beat({}, "peer-b", "host-b");
  tick();
  wire::Envelope refusal;
  refusal.mutable_reservation_refused()->set_job("wide");
  refusal.mutable_reservation_refused()->set_attempt(1);
  refusal.mutable_reservation_refused()->set_host("host-b");
  refusal.mutable_reservation_refused()->set_reason("1 slot is free, 2 are needed");
  message(refusal, "peer-b");
  sent_.clear();
  tick();
  EXPECT_THAT(take_sent(wire::Envelope::kReleaseSlots), SizeIs(2));
  EXPECT_EQ(phase("wide"), JobPhase::kQueued);
}

TEST_F(FleetReconcilerTest, AGangThatHangsIsStoppedAndTriedAgain) {
  submit("j");
  beat();
  tick();
  const auto rank_beat = [&](int rank, int step) {
    wire::Envelope envelope;
    auto& told = *envelope.mutable_rank_beat();
    told.set_job("j");
    told.set_attempt(1);
    told.set_rank(static_cast<uint32_t>(rank));
    told.set_host("host-a");
    told.set_phase("training");
    told.set_step(static_cast<uint64_t>(step));
    message(envelope, "rank");
  };
  for (int step = 1; step <= 20; ++step) {
    rank_beat(0, step);
    rank_beat(1, step);
    pass(1, true, {{"j", 1}});
  }
  sent_.clear();
  for (int i = 0; i < 13; ++i) {
    rank_beat(0, 20);  // Rank 1 stands still, and rank 0 waits for it.
    pass(1, true, {{"j", 1}});
  }
  EXPECT_FALSE(take_sent(wire::Envelope::kStopGang).empty());
  gang_ended({"j", 1}, false, "asked to stop", "cancelled");
  EXPECT_EQ(phase("j"), JobPhase::kQueued);
  EXPECT_THAT(store_.events_before("j", 0, 1)->events[0].message,
              HasSubstr("rank 1 on host-a hangs"));
}

TEST_F(FleetReconcilerTest, ACoordinatorThatWasReplacedStepsDown) {
  ASSERT_TRUE(store_.lead("elsewhere", "p", 60'000));
  submit("j");
  reconciler_ = std::make_unique<FleetReconciler>(
      store_,
      ReconcilerOptions{
          .jobs_directory = directory_,
          .prepare =
              [this](const JobRecord& job) { return prepare_run_directory(directory_, job); },
          .leader = 7,
          .unix_ms = [this] { return store_.now_ms; }},
      [this](const std::string& peer, wire::Envelope envelope) {
        sent_.emplace_back(peer, std::move(envelope));
      });
  beat();
  tick();
  EXPECT_TRUE(reconciler_->outlived(7));
  EXPECT_EQ(phase("j"), JobPhase::kQueued);
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), IsEmpty());
}

TEST_F(FleetReconcilerTest, AnAgentThatComesBackInTimeKeepsItsJob) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  pass(25, false);
  beat({{"j", 1}}, "peer-new");
  pass(60, true, {{"j", 1}});
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
}

TEST_F(FleetReconcilerTest, AGangThatIsNoLongerThereIsTriedAgain) {
  submit("j");
  beat();
  tick();
  pass(1, true, {{"j", 1}});
  pass(12);
  EXPECT_EQ(store_.get("j")->attempt, 2);
  EXPECT_THAT(store_.events_after("j", 2, 1)->events[0].message,
              HasSubstr("no longer runs the job"));
}

TEST_F(FleetReconcilerTest, ARestartedCoordinatorAdoptsRunningJobs) {
  submit("j");
  beat();
  tick();
  restart();
  sent_.clear();
  tick();
  pass(30, true, {{"j", 1}});
  EXPECT_EQ(phase("j"), JobPhase::kRunning);
  EXPECT_THAT(sent_, IsEmpty()) << "nothing is started twice, nothing is stopped";
  gang_ended({"j", 1}, true);
  EXPECT_EQ(phase("j"), JobPhase::kSucceeded);
}

TEST_F(FleetReconcilerTest, AStartThatWasStoredButNotSentIsMadeUpFor) {
  submit("j");
  ASSERT_TRUE(store_.transition("j", 0, JobPhase::kQueued, JobPhase::kRunning,
                                {.placement = Placement{{.host = "host-a", .ranks = 2}}}));
  tick();
  beat();
  tick();
  EXPECT_THAT(take_sent(wire::Envelope::kStartGang), SizeIs(1));
}

TEST_F(FleetReconcilerTest, AGangOfAnOlderAttemptIsStopped) {
  beat({{"gone", 3}});
  tick();
  const auto stops = take_sent(wire::Envelope::kStopGang);
  ASSERT_THAT(stops, SizeIs(1));
  EXPECT_EQ(stops[0].stop_gang().job(), "gone");
  EXPECT_EQ(stops[0].stop_gang().attempt(), 3U);
}

TEST_F(FleetReconcilerTest, NoGangIsAStrangerBeforeTheStoreHasAnswered) {
  store_.away = true;
  beat({{"j", 1}});
  pass(5, true, {{"j", 1}});
  EXPECT_THAT(take_sent(wire::Envelope::kStopGang), IsEmpty());
}

TEST_F(FleetReconcilerTest, ProgressAndEventsOfRankZeroAreStored) {
  submit("j");
  beat();
  tick();
  wire::Envelope rank_beat;
  rank_beat.mutable_rank_beat()->set_job("j");
  rank_beat.mutable_rank_beat()->set_attempt(1);
  rank_beat.mutable_rank_beat()->set_step(12);
  message(rank_beat, "rank-0");
  rank_beat.mutable_rank_beat()->set_attempt(0);
  rank_beat.mutable_rank_beat()->set_step(99);
  message(rank_beat, "rank-0");
  pass(1, true, {{"j", 1}});
  EXPECT_EQ(store_.get("j")->progress["step"], 12);

  sent_.clear();
  wire::Envelope event;
  event.mutable_rank_event()->set_job("j");
  event.mutable_rank_event()->set_attempt(1);
  event.mutable_rank_event()->set_number(1);
  event.mutable_rank_event()->set_level("info");
  event.mutable_rank_event()->set_type("metrics");
  event.mutable_rank_event()->set_message("Step 12");
  event.mutable_rank_event()->set_data_json(R"({"step": 12})");
  store_.away = true;
  message(event, "rank-0");
  EXPECT_THAT(take_sent(wire::Envelope::kAck), IsEmpty());
  store_.away = false;
  message(event, "rank-0");
  message(event, "rank-0");
  EXPECT_THAT(take_sent(wire::Envelope::kAck), SizeIs(2));
  const auto page = store_.events_before("j", 0, 1);
  EXPECT_EQ(page->events[0].message, "Step 12");
  EXPECT_EQ(page->events[0].data["step"], 12);
  EXPECT_EQ(page->events[0].number, 3) << "created, started, step: the repeat was dropped";
}

TEST_F(FleetReconcilerTest, ARunDirectoryThatCannotBeMadeFailsTheJob) {
  submit("bad id");
  beat();
  tick();
  EXPECT_EQ(phase("bad id"), JobPhase::kFailed);
  EXPECT_THAT(store_.get("bad id")->error->message, HasSubstr("not a job id"));
}

TEST_F(FleetReconcilerTest, AnotherWireVersionIsRejected) {
  wire::Envelope envelope;
  envelope.set_version(kWireVersion + 1);
  envelope.mutable_agent_beat()->set_host("host-z");
  reconciler_->on_message("peer-z", envelope, now_ms_);
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_EQ(sent_[0].second.rejected().code(), "invalid_argument");
  EXPECT_THAT(reconciler_->agents(), IsEmpty());
}

}  // namespace
}  // namespace tunefleet::coordinator

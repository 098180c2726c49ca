#include "tests/coordinator/simulate/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "coordinator/fleet/fleet_reconciler.h"
#include "coordinator/fleet/leader_lease.h"
#include "coordinator/sweep/sweep_jobs.h"
#include "coordinator/sweep/sweep_plan.h"
#include "coordinator/sweep/sweep_reconciler.h"
#include "proto/wire_version.h"
#include "tests/coordinator/simulate/crowd.h"
#include "tests/coordinator/simulate/invariants.h"
#include "tests/coordinator/simulate/sim_agent.h"
#include "tests/coordinator/simulate/sim_network.h"
#include "tests/coordinator/simulate/sim_store.h"
#include "tests/coordinator/simulate/sim_sweep_store.h"

namespace tunefleet::simulate {
namespace {

using coordinator::FleetReconciler;
using coordinator::LeaderLease;
using coordinator::ReconcilerOptions;
using coordinator::SweepReconciler;

constexpr int64_t kTickMs = 1'000;
constexpr int64_t kLongestSettlingMs = 3'600'000;
constexpr size_t kTraceLength = 60;
constexpr int64_t kHighestPriority = 3;
constexpr double kAgeingPerHour = 120;  ///< A point each 30 s: runs are short.
constexpr int64_t kTrialSteps = 30;

/// A coordinator process: its lease, what it does for sweeps and, while it leads, its reconciler.
struct SimCoordinator {
  std::string name{};
  std::unique_ptr<SimStore> store{};
  std::unique_ptr<LeaderLease> lease{};
  std::unique_ptr<FleetReconciler> reconciler{};
  std::unique_ptr<SimSweepStore> sweep_store{};
  std::unique_ptr<SweepReconciler> sweeper{};
  bool frozen = false;

  bool up() const { return lease != nullptr; }
};

class World {
 public:
  explicit World(const Scenario& scenario);
  Verdict run();

 private:
  void start_coordinator(SimCoordinator& coordinator);
  void tick_coordinator(SimCoordinator& coordinator);
  void start_agent(size_t number);
  void begin(const Disturbance& disturbance);
  void finish(const Disturbance& disturbance);
  void disturb();
  void grant_wishes();
  bool grant(const Wish& wish);
  bool submit(const Wish& wish);
  bool submit_sweep(const Wish& wish);
  void submit_for_sure(const JobRecord& job, int64_t length);
  void crowd();
  int64_t slots() const;
  int64_t work_of(const JobRecord& job);
  void tell_coordinators(const std::string& from, const wire::Envelope& envelope);
  void step();
  void check();
  bool settled() const;
  void broke(const std::string& what);
  void note(std::string line);
  SimPeers peers();
  std::map<std::string, const SimAgent*> agents() const;
  std::string job_id(int64_t number) const { return fmt::format("ftjob-{}", number); }

  const Scenario& scenario_;
  int64_t now_ms_ = 0;
  int64_t quiet_ms_ = 0;  ///< When the last disturbance is over.
  std::unique_ptr<coordinator::JobStore> truth_;
  std::unique_ptr<coordinator::SweepStore> true_sweeps_;
  SimNetwork network_;
  SimDisk disk_;
  Draws draws_;
  SimStore client_;
  SimSweepStore client_sweeps_;
  std::vector<SimCoordinator> coordinators_;
  std::vector<std::unique_ptr<SimAgent>> agents_;  ///< Null while crashed.
  std::deque<Wish> wishes_;
  std::deque<Disturbance> coming_, lasting_;
  Invariants invariants_;
  Verdict verdict_;
};

World::World(const Scenario& scenario)
    : scenario_(scenario),
      truth_(coordinator::make_memory_job_store([this] { return now_ms_ + 1; })),
      true_sweeps_(coordinator::make_memory_sweep_store([this] { return now_ms_ + 1; })),
      network_(
          scenario.seed,
          {.loss = scenario.loss, .repeat = scenario.repeat, .slowest_ms = scenario.slowest_ms}),
      draws_(scenario.seed, 2),
      client_(*truth_, scenario.seed, 3, [](const JobRecord&, const JobRecord&) {}),
      client_sweeps_(*true_sweeps_, client_),
      coordinators_(2),
      agents_(scenario.agent_slots.size()),
      wishes_(scenario.wishes.begin(), scenario.wishes.end()),
      coming_(scenario.disturbances.begin(), scenario.disturbances.end()) {
  client_.faults() = {.lost_call = scenario.loss, .lost_answer = scenario.loss};
  for (const Disturbance& each : coming_) {
    quiet_ms_ = std::max(quiet_ms_, each.at_ms + each.for_ms);
  }
  for (size_t i = 0; i < agents_.size(); ++i) start_agent(i);
  for (size_t i = 0; i < coordinators_.size(); ++i) {
    coordinators_[i].name = fmt::format("coordinator-{}", i);
    coordinators_[i].store = std::make_unique<SimStore>(
        *truth_, scenario.seed, 10 + i, [this](const JobRecord& before, const JobRecord& after) {
          if (before.phase != after.phase || before.attempt != after.attempt) {
            note(fmt::format("{} {} -> {} attempt {}", after.id, phase_name(before.phase),
                             phase_name(after.phase), after.attempt));
          }
          broke(invariants_.after_change(before, after));
        });
    coordinators_[i].store->faults() = {
        .lost_call = scenario.loss,
        .lost_answer = scenario.loss,
        .no_leader_fence = scenario.breakage == Breakage::kNoLeaderFence,
        .forgetful_sweep_stop = scenario.breakage == Breakage::kForgetfulSweepStop,
        .hides_beyond = scenario.breakage == Breakage::kNoReservation ? slots() : 0};
    coordinators_[i].store->on_sweep_stop(
        [this](const std::string& job) { invariants_.stopped_by_sweep(job); });
    coordinators_[i].sweep_store =
        std::make_unique<SimSweepStore>(*true_sweeps_, *coordinators_[i].store);
    start_coordinator(coordinators_[i]);
  }
}

void World::note(std::string line) {
  verdict_.trace.push_back(
      fmt::format("{:>9.3f} s  {}", static_cast<double>(now_ms_) / 1000, line));
  if (verdict_.trace.size() > kTraceLength) verdict_.trace.erase(verdict_.trace.begin());
}

void World::broke(const std::string& what) {
  if (what.empty() || !verdict_.broken.empty()) return;
  verdict_.broken = what;
  verdict_.at_ms = now_ms_;
  note("BROKEN  " + what);
}

std::map<std::string, const SimAgent*> World::agents() const {
  std::map<std::string, const SimAgent*> all;
  for (const auto& agent : agents_) {
    if (agent) all[agent->host()] = agent.get();
  }
  return all;
}

SimPeers World::peers() {
  const auto find = [this](const std::string& host) -> SimAgent* {
    for (const auto& agent : agents_) {
      if (agent && agent->host() == host && !network_.is_cut(host)) return agent.get();
    }
    return nullptr;
  };
  return {.join =
              [find](const std::string& host, const GangKey& key) {
                SimAgent* agent = find(host);
                return agent != nullptr && agent->join(key);
              },
          .holds =
              [find](const std::string& host, const GangKey& key) {
                const SimAgent* agent = find(host);
                return agent != nullptr && agent->holds(key);
              },
          .leave =
              [find](const std::string& host, const GangKey& key) {
                if (SimAgent* agent = find(host)) agent->leave(key);
              }};
}

void World::start_agent(size_t number) {
  const std::string host = fmt::format("agent-{}", number);
  agents_[number] = std::make_unique<SimAgent>(
      host, scenario_.agent_slots[number], disk_, scenario_.seed, peers(),
      [this, host](const wire::Envelope& envelope) { tell_coordinators(host, envelope); });
  if (scenario_.breakage == Breakage::kCarelessAgents) agents_[number]->start_everything();
  network_.connect(host, [this, number](const std::string&, const wire::Envelope& envelope) {
    if (agents_[number]) agents_[number]->on_message(envelope, now_ms_);
  });
}

/// An agent is connected to whoever has the endpoint open: the leader, and one that only believes
/// so.
void World::tell_coordinators(const std::string& from, const wire::Envelope& envelope) {
  wire::Envelope stamped = envelope;
  stamped.set_version(kWireVersion);
  for (const SimCoordinator& each : coordinators_) {
    if (each.reconciler) network_.send(from, each.name, stamped, now_ms_);
  }
}

void World::start_coordinator(SimCoordinator& coordinator) {
  coordinator.lease = std::make_unique<LeaderLease>(*coordinator.store, coordinator.name);
  coordinator.sweeper = std::make_unique<SweepReconciler>(*coordinator.store,
                                                          *coordinator.sweep_store, [&coordinator] {
                                                            if (coordinator.reconciler)
                                                              coordinator.reconciler->look_again();
                                                          });
  coordinator.frozen = false;
  network_.connect(coordinator.name,
                   [this, &coordinator](const std::string& from, const wire::Envelope& envelope) {
                     if (coordinator.reconciler && !coordinator.frozen) {
                       coordinator.reconciler->on_message(from, envelope, now_ms_);
                     }
                   });
}

void World::tick_coordinator(SimCoordinator& coordinator) {
  if (!coordinator.up() || coordinator.frozen) return;
  // What fails is done at the next look.
  (void)coordinator.sweeper->look();
  auto& reconciler = coordinator.reconciler;
  // Until its lease has been looked at, a process that was frozen acts on what it believed.
  if (reconciler) reconciler->on_tick(now_ms_);
  const bool leads = coordinator.lease->keep(now_ms_);
  if (reconciler && (!leads || reconciler->outlived(coordinator.lease->generation()))) {
    note(coordinator.name + " steps down");
    reconciler.reset();
  }
  if (!leads || reconciler) return;
  note(fmt::format("{} leads, generation {}", coordinator.name, coordinator.lease->generation()));
  ReconcilerOptions options{.jobs_directory = "/jobs",
                            .prepare = [](const JobRecord& job) -> Result<std::filesystem::path> {
                              return std::filesystem::path("/jobs") / job.id;
                            },
                            .leader = coordinator.lease->generation(),
                            .unix_ms = [this] { return now_ms_ + 1; }};
  options.policy.preempt_after_ms = options.policy.shrink_after_ms = 10'000;
  options.policy.grow_after_ms = 30'000;
  options.policy.ageing_per_hour = scenario_.breakage == Breakage::kNoAgeing ? 0.0 : kAgeingPerHour;
  reconciler = std::make_unique<FleetReconciler>(
      *coordinator.store, options,
      [this, name = coordinator.name](const std::string& peer, wire::Envelope envelope) {
        network_.send(name, peer, std::move(envelope), now_ms_);
      });
}

std::string host_name(int64_t number) { return fmt::format("agent-{}", number); }

void World::begin(const Disturbance& disturbance) {
  note(text_of(disturbance));
  const auto which = static_cast<size_t>(disturbance.which);
  switch (disturbance.kind) {
    case Disturbance::Kind::kCutAgent:
      network_.cut(host_name(disturbance.which), true);
      break;
    case Disturbance::Kind::kCrashAgent:
      if (agents_[which]) agents_[which]->crash(disturbance.tears);
      agents_[which].reset();
      break;
    case Disturbance::Kind::kCutCoordinator:
      network_.cut(coordinators_[which].name, true);
      coordinators_[which].store->faults().away = true;
      break;
    case Disturbance::Kind::kCrashCoordinator:
      coordinators_[which].store->faults().away = true;  // It resigns nothing.
      coordinators_[which].reconciler.reset();
      coordinators_[which].sweeper.reset();
      coordinators_[which].lease.reset();
      break;
    case Disturbance::Kind::kFreezeCoordinator:
      coordinators_[which].frozen = true;
      break;
    case Disturbance::Kind::kStoreAway:
      for (auto& each : coordinators_) each.store->faults().away = true;
      client_.faults().away = true;
  }
}

void World::finish(const Disturbance& disturbance) {
  const auto which = static_cast<size_t>(disturbance.which);
  switch (disturbance.kind) {
    case Disturbance::Kind::kCutAgent:
      network_.cut(host_name(disturbance.which), false);
      break;
    case Disturbance::Kind::kCrashAgent:
      if (!agents_[which]) start_agent(which);
      break;
    case Disturbance::Kind::kCutCoordinator:
      network_.cut(coordinators_[which].name, false);
      coordinators_[which].store->faults().away = false;
      break;
    case Disturbance::Kind::kCrashCoordinator:
      coordinators_[which].store->faults().away = false;
      if (!coordinators_[which].up()) start_coordinator(coordinators_[which]);
      break;
    case Disturbance::Kind::kFreezeCoordinator:
      coordinators_[which].frozen = false;
      break;
    case Disturbance::Kind::kStoreAway:
      for (auto& each : coordinators_) each.store->faults().away = false;
      client_.faults().away = false;
  }
}

void World::disturb() {
  while (!coming_.empty() && coming_.front().at_ms <= now_ms_) {
    begin(coming_.front());
    lasting_.push_back(coming_.front());
    coming_.pop_front();
  }
  std::erase_if(lasting_, [this](const Disturbance& each) {
    if (each.at_ms + each.for_ms > now_ms_) return false;
    finish(each);
    return true;
  });
}

bool World::submit(const Wish& wish) {
  const std::string id = job_id(wish.job);
  Draws draws(scenario_.seed, 100'000 + static_cast<uint64_t>(wish.job));
  const int64_t min_workers = draws.between(1, std::min<int64_t>(3, slots()));
  // The same each time it is asked.
  auto& run = disk_.runs[id];
  run.length = draws.between(2, 60);
  run.fails = draws.chance(0.3) ? 0.03 : 0.0;
  run.user_error = draws.chance(0.08);
  const int64_t max_workers = draws.chance(0.3) ? min_workers + 2 : min_workers;
  const std::string key = fmt::format("key-{}", wish.job);
  const auto made = client_.create({.id = id,
                                    .owner = fmt::format("tenant-{}", draws.between(0, 2)),
                                    .phase = JobPhase::kQueued,
                                    .priority = draws.between(0, kHighestPriority),
                                    .workers = max_workers,
                                    .min_workers = min_workers,
                                    .max_workers = max_workers,
                                    .spec = {{"seed", 1}}},
                                   key);
  if (!made) return false;
  invariants_.accepted(key, made->id);
  return true;
}

/// A sweep whose trials tell a loss of their own at each step.
bool World::submit_sweep(const Wish& wish) {
  coordinator::SweepRecord sweep{.id = fmt::format("ftsweep-{}", wish.job), .owner = "tenant-0"};
  Draws draws(scenario_.seed, 200'000 + static_cast<uint64_t>(wish.job));
  sweep.plan = to_json(coordinator::SweepPlan{
      .metric = "loss",
      .halving = coordinator::Halving{.eta = 2, .min_steps = 4, .max_steps = kTrialSteps},
      .max_parallel = draws.between(1, 4)});
  const auto trials = static_cast<size_t>(draws.between(3, 6));
  for (size_t i = 0; i < trials; ++i) {
    sweep.trials.push_back({{"spec", {{"workers", 1}}}, {"request", nlohmann::json::object()}});
    auto& run = disk_.runs[coordinator::trial_job_id(sweep.id, i)];
    run.length = kTrialSteps;
    run.loss = draws.unit();
    run.fails = draws.chance(0.2) ? 0.03 : 0.0;
  }
  const auto made = client_sweeps_.create(sweep);
  if (!made && made.error().code == ErrorCode::kUnavailable) return false;
  invariants_.sweep_accepted(sweep.id, trials);  // A conflict: made when its answer was lost.
  return true;
}

/// Whether the client has an answer and need not ask again.
bool World::grant(const Wish& wish) {
  const std::string id = job_id(wish.job);
  if (wish.kind == Wish::Kind::kSubmit) return submit(wish);
  if (wish.kind == Wish::Kind::kSweep) return submit_sweep(wish);
  if (wish.kind == Wish::Kind::kCancelSweep) {
    const auto moved = client_sweeps_.move(fmt::format("ftsweep-{}", wish.job),
                                           coordinator::SweepPhase::kCancelling);
    return moved || moved.error().code != ErrorCode::kUnavailable;
  }
  Result<JobRecord> answer;
  if (wish.kind == Wish::Kind::kResume) {
    answer = client_.resume(id);
  } else {
    const bool cancel = wish.kind == Wish::Kind::kCancel;
    answer = client_.request_stop(id, cancel ? StopReason::kCancel : StopReason::kPause, "", 0);
    if (answer && cancel) invariants_.cancel_accepted(id);
  }
  return answer || answer.error().code != ErrorCode::kUnavailable;
}

void World::grant_wishes() {
  for (size_t i = 0; i < wishes_.size();) {
    if (wishes_[i].at_ms <= now_ms_ && grant(wishes_[i])) {
      wishes_.erase(wishes_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  for (SimCoordinator& each : coordinators_) {
    if (each.reconciler && !each.frozen) each.reconciler->look_again();
  }
}

void World::check() {
  const auto running = truth_->running();
  broke(invariants_.now(agents(), *running));
}

void World::step() {
  now_ms_ += kTickMs;
  network_.deliver_until(now_ms_);
  disturb();
  grant_wishes();
  for (const auto& agent : agents_) {
    if (agent) agent->on_tick(now_ms_);
  }
  for (SimCoordinator& each : coordinators_) tick_coordinator(each);
  network_.deliver_until(now_ms_ + scenario_.slowest_ms);
  for (SimCoordinator& each : coordinators_) {
    if (each.reconciler && !each.frozen && each.reconciler->wants_tick()) {
      each.reconciler->on_tick(now_ms_ + scenario_.slowest_ms);
    }
  }
  check();
}

bool World::settled() const {
  return wishes_.empty() && truth_->queued()->empty() && truth_->running()->empty() &&
         true_sweeps_->unfinished()->empty();
}

int64_t World::slots() const {
  int64_t slots = 0;
  for (const int64_t each : scenario_.agent_slots) slots += each;
  return slots;
}

int64_t World::work_of(const JobRecord& job) { return job.max_workers * disk_.runs[job.id].length; }

void World::submit_for_sure(const JobRecord& job, int64_t length) {
  disk_.runs[job.id].length = length;
  const auto made = truth_->create(job, job.id);
  invariants_.accepted(job.id, made->id);
}

/// See Scenario::crowd. When nothing fails, the wide job has to start within its patience.
void World::crowd() {
  const std::string wide = "ftjob-wide";
  Patience patience(now_ms_, slots(), kHighestPriority, kAgeingPerHour);
  for (const auto& jobs : {*truth_->queued(), *truth_->running()}) {
    for (const JobRecord& job : jobs) patience.queued(now_ms_, work_of(job));
  }
  const auto new_job = [](const std::string& id, const std::string& owner, int64_t ranks) {
    return JobRecord{.id = id,
                     .owner = owner,
                     .phase = JobPhase::kQueued,
                     .workers = ranks,
                     .min_workers = ranks,
                     .max_workers = ranks,
                     .spec = {{"seed", 1}}};
  };
  const int64_t begun_ms = now_ms_;
  submit_for_sure(new_job(wide, "patient", slots()), 5);
  Crowd crowd(scenario_.seed, slots());
  for (int64_t count = 0; verdict_.broken.empty() && truth_->get(wide)->attempt == 0;) {
    if (now_ms_ > patience.until_ms()) {
      return broke(fmt::format("a job starved: {} with {} ranks has waited for {} s", wide, slots(),
                               (now_ms_ - begun_ms) / 1'000));
    }
    for (const CrowdJob& drawn : crowd.next()) {
      JobRecord job = new_job(fmt::format("ftjob-crowd-{}", count),
                              fmt::format("tenant-{}", count % 3), drawn.ranks);
      job.priority = kHighestPriority;
      patience.queued(now_ms_, drawn.ranks * drawn.length);
      submit_for_sure(job, drawn.length);
      ++count;
    }
    step();
  }
}

Verdict World::run() {
  while (verdict_.broken.empty() && (now_ms_ < quiet_ms_ || !wishes_.empty())) step();
  network_.set_faults({});
  client_.faults() = {};
  for (SimCoordinator& each : coordinators_) {
    each.store->faults().lost_call = each.store->faults().lost_answer = 0.0;
  }
  for (auto& [id, run] : disk_.runs) run.fails = 0.0;
  if (scenario_.crowd) crowd();
  const int64_t end_ms = now_ms_ + kLongestSettlingMs;
  while (verdict_.broken.empty() && !settled() && now_ms_ < end_ms) step();
  if (verdict_.broken.empty()) broke(invariants_.finally(*truth_, *true_sweeps_));
  verdict_.jobs = invariants_.jobs();
  const auto all = truth_->list("", "", 100'000);
  for (const JobRecord& job : all->jobs) verdict_.attempts += job.attempt;
  return verdict_;
}

}  // namespace

std::string text_of(const Disturbance& disturbance) {
  static constexpr const char* kNames[] = {"network cut from agent",       "crash of agent",
                                           "network cut from coordinator", "crash of coordinator",
                                           "freeze of coordinator",        "store away"};
  return fmt::format("{} {} for {} s{}", kNames[static_cast<int>(disturbance.kind)],
                     disturbance.which, disturbance.for_ms / 1000,
                     disturbance.tears ? ", tearing a file" : "");
}

Verdict run_scenario(const Scenario& scenario) { return World(scenario).run(); }

}  // namespace tunefleet::simulate

#include "tests/coordinator/simulate/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "proto/wire_version.h"
#include "tests/coordinator/simulate/simulated_world.h"

namespace tunefleet::simulate {
namespace {

using coordinator::ReconcilerOptions;

constexpr int64_t kTickMs = 1'000;
constexpr int64_t kLongestSettlingMs = 3'600'000;
constexpr size_t kTraceLength = 60;

}  // namespace

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

Verdict run_scenario(const Scenario& scenario) { return World(scenario).run(); }

}  // namespace tunefleet::simulate

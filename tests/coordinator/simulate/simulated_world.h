#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/fleet/fleet_reconciler.h"
#include "coordinator/fleet/leader_lease.h"
#include "coordinator/sweep/sweep_reconciler.h"
#include "tests/coordinator/simulate/invariants.h"
#include "tests/coordinator/simulate/sim_agent.h"
#include "tests/coordinator/simulate/sim_network.h"
#include "tests/coordinator/simulate/sim_store.h"
#include "tests/coordinator/simulate/sim_sweep_store.h"
#include "tests/coordinator/simulate/world.h"

namespace tunefleet::simulate {

using coordinator::FleetReconciler;
using coordinator::LeaderLease;
using coordinator::SweepReconciler;

inline constexpr int64_t kHighestPriority = 3;
inline constexpr double kAgeingPerHour = 120;  ///< A point each 30 s: runs are short.

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

/// One scenario from its beginning to its end: what runs in it, how time passes (world.cpp), what
/// its clients ask for (world_clients.cpp) and what goes wrong (world_disturbances.cpp).
class World {
 public:
  /// `scenario` outlives this.
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

}  // namespace tunefleet::simulate

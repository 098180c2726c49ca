#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tunefleet::simulate {

/// Something that happens to one process of the simulated fleet.
struct Disturbance {
  enum class Kind {
    kCutAgent,    ///< The network to an agent is cut for a while.
    kCrashAgent,  ///< kill -9, with all its ranks; back after a while.
    kCutCoordinator,
    kCrashCoordinator,
    kFreezeCoordinator,  ///< SIGSTOP: it comes back and believes it still leads.
    kStoreAway,          ///< Redis is restarted: nobody reaches it for a while.
  };
  Kind kind = Kind::kCutAgent;
  int64_t at_ms = 0;
  int64_t for_ms = 0;
  int64_t which = 0;   ///< Number of the agent or coordinator.
  bool tears = false;  ///< A crash tears what was being written.
};
std::string text_of(const Disturbance& disturbance);

/// What a client asks, and when.
struct Wish {
  enum class Kind { kSubmit, kCancel, kPause, kResume, kSweep, kCancelSweep };
  Kind kind = Kind::kSubmit;
  int64_t at_ms = 0;
  int64_t job = 0;  ///< Number of the job, or of the sweep.
};

/// Invariants broken on purpose, to see that they are watched.
enum class Breakage {
  kNone,
  kNoLeaderFence,
  kCarelessAgents,
  kNoAgeing,           ///< Waiting gains a job nothing.
  kNoReservation,      ///< A job that does not fit now is not seen by the planner.
  kForgetfulSweepStop  ///< What a sweep stops is queued again, as if it were preempted.
};

/// Everything that happens in a run but the fate of single messages. Drawn from a seed, or
/// shortened from what was drawn.
struct Scenario {
  uint64_t seed = 1;
  std::vector<int64_t> agent_slots{};  ///< One number for each agent.
  std::vector<Disturbance> disturbances{};
  std::vector<Wish> wishes{};
  double loss = 0.0;  ///< Of messages; also of calls to the store and of their answers.
  double repeat = 0.0;
  int64_t slowest_ms = 20;
  /// After everything else: one job as wide as the fleet, of the lowest priority, among narrow ones
  /// of the highest that keep coming, more than the fleet can do.
  bool crowd = false;
  Breakage breakage = Breakage::kNone;
};
Scenario draw_scenario(uint64_t seed, Breakage breakage = Breakage::kNone);

/// What a run showed.
struct Verdict {
  std::string broken{};  ///< The invariant that did not hold, with its values; empty: all held.
  int64_t at_ms = 0;
  std::vector<std::string> trace{};  ///< What happened, newest last; bounded.
  int64_t jobs = 0;                  ///< Accepted.
  int64_t attempts = 0;
};
/// Runs the coordinators' real code (planner, state machine, reconciler, lease) against simulated
/// agents, clients, clock, network and disk, checks the invariants after every step, and lets the
/// fleet settle in the end: then every accepted job has ended.
Verdict run_scenario(const Scenario& scenario);

/// Leaves out what is not needed for `verdict.broken` to break: a shorter scenario that breaks the
/// same invariant.
Scenario shrink(Scenario scenario, const Verdict& verdict);
/// The name of an invariant: the words of a verdict before its values.
std::string invariant_of(const Verdict& verdict);

}  // namespace tunefleet::simulate

#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "worker/agent/coordinator_link.h"
#include "worker/agent/gang_part.h"
#include "worker/agent/slot_ledger.h"

namespace tunefleet::agent {

/// This agent's parts of gangs other agents lead, and the answers to their exec-ons. Whatever is
/// asked twice happens once. Used by the agent's thread; `ledger` outlives it.
class PartKeeper {
 public:
  PartKeeper(const LaunchOptions& options, SlotLedger& ledger)
      : options_(options), ledger_(ledger) {}

  /// Does what an exec-on asks, and answers. A part starts only where slots are kept for exactly
  /// this gang. True when the slots' use has changed.
  bool take_request(const wire::ExecRequest& request, CoordinatorLink& link, int64_t now_ms);
  /// StopGang: false when there is no such part, and was none lately.
  bool stop(const GangId& gang, int64_t now_ms, int64_t grace_ms, const std::string& reason);
  /// ReleaseSlots: kills the part at once.
  void end(const GangId& gang);
  /// The agent leaves: asks the leads to stop their gangs; what is left after the grace is killed.
  void leave(int64_t now_ms, int64_t grace_ms, const std::string& reason, CoordinatorLink& link);

  void on_reaped(pid_t pid, int status);
  /// Moves all on and tells what has changed. True when the slots' use has changed.
  bool advance_to(int64_t now_ms, CoordinatorLink& link);
  bool empty() const { return parts_.empty(); }

 private:
  struct Kept {
    GangPart part;
    std::string exec_id;  ///< Of the exec-on that is answered.
  };
  /// An end, in case its exec-on asks again.
  struct Past {
    wire::ExecStatus status;
    int64_t ended_ms = 0;
  };

  wire::ExecStatus start(const wire::ExecRequest& request);
  wire::ExecStatus status_of(const Kept& kept) const;
  wire::ExecStatus make_status(const std::string& id, wire::ExecPhase phase,
                               const std::string& message) const;
  static void send(const wire::ExecStatus& status, CoordinatorLink& link);

  const LaunchOptions& options_;
  SlotLedger& ledger_;
  std::map<GangId, Kept> parts_;
  std::map<GangId, Past> past_;
};

}  // namespace tunefleet::agent

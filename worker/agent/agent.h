#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "proto/result.h"
#include "worker/agent/coordinator_link.h"
#include "worker/agent/end_reports.h"
#include "worker/agent/gang.h"
#include "worker/agent/leader_fence.h"
#include "worker/agent/part_keeper.h"
#include "worker/agent/slot_ledger.h"

namespace tunefleet::agent {

struct AgentOptions {
  int slots = 1;
  bool cuda = false;
  LaunchOptions launch{};  ///< With the coordinator's address.
};

/// The node daemon: offers slots, keeps them for gangs over several agents, starts and stops gangs
/// as told, says each second what runs, and how gangs ended until that is acknowledged. One thread,
/// one poll loop; children are watched by SIGCHLD through a signalfd.
///
/// It never decides anything about jobs, and without a coordinator its gangs run on. An order of a
/// coordinator that was replaced is not obeyed. SIGTERM and SIGINT end it: gangs get their grace,
/// their ends are reported, nothing is left running. When it is killed, the kernel kills mpirun and
/// orted with it (PR_SET_PDEATHSIG), and the exec-ranks their ranks.
class Agent {
 public:
  /// Adopts orphaned grandchildren of this process, and blocks the signals it reads. Call before
  /// any thread exists.
  static Result<std::unique_ptr<Agent>> make(const AgentOptions& options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Runs until a signal ends it; the program's exit code.
  int run();

 private:
  Agent(const AgentOptions& options, const NodeKeys& keys, int signals);
  // agent.cpp: the loop
  void wait_for_something();
  void take_signals();
  void leave();
  void advance_gangs();
  void gang_is_over(const Gang& gang);
  void send_beat();
  void tell_connection(bool connected);
  bool may_leave(int64_t now_ms);
  // agent_orders.cpp: what the coordinator wants
  void take_messages();
  void take_order(const wire::Envelope& envelope);
  bool obeys(uint64_t leader);
  void acknowledge(uint64_t sequence);
  void start_gang(const wire::StartGang& message);
  Status may_start(const GangOrder& order) const;
  void stop_gang(const wire::StopGang& message);
  void reserve_slots(const wire::ReserveSlots& message);
  void release_slots(const wire::ReleaseSlots& message);
  Failure refusal(const Error& error) const;

  AgentOptions options_;
  CoordinatorLink link_;
  int signals_;  ///< signalfd
  LeaderFence fence_;
  SlotLedger ledger_;
  std::map<GangId, Gang> gangs_;  ///< That this agent leads.
  PartKeeper parts_;              ///< That others lead.
  EndReports ends_;
  int64_t next_beat_ms_ = 0;
  bool connected_ = false;
  bool connection_told_ =
      true;  ///< The log knows; false once it was told that there is no connection.
  bool fence_told_ = false;
  int64_t last_connected_ms_ = 0;
  int64_t leave_asked_ms_ = 0;  ///< When SIGTERM came; 0: it has not.
  int64_t gangs_gone_ms_ = 0;   ///< After that: when no gang was left.
};

}  // namespace tunefleet::agent

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "proto/result.h"
#include "worker/agent/coordinator_link.h"
#include "worker/agent/gang.h"

namespace tunefleet::agent {

struct AgentOptions {
  std::string coordinator{};  ///< tcp://host:port
  int slots = 1;
  bool cuda = false;
  LaunchOptions launch{};
};

/// The node daemon: offers slots, starts and stops gangs as told, says each second what runs, and
/// how gangs ended until that is acknowledged. One thread, one poll loop; children are watched by
/// SIGCHLD through a signalfd.
///
/// It never decides anything about jobs, and without a coordinator its gangs run on. SIGTERM and
/// SIGINT end it: gangs get their grace, their ends are reported, nothing is left running. When it
/// is killed, the kernel kills mpirun with it (PR_SET_PDEATHSIG), and the exec-ranks their ranks.
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
  using GangId = std::pair<std::string, int64_t>;  ///< job, attempt
  /// A GangEnded that is not acknowledged yet.
  struct Unacknowledged {
    wire::GangEnded ended;
    uint64_t sequence = 0;  ///< Of the envelope it was last sent in.
    int64_t sent_ms = 0;
  };

  Agent(const AgentOptions& options, const NodeKeys& keys, int signals);
  void wait_for_something();
  void take_signals();
  void take_messages();
  void start_gang(const wire::StartGang& order);
  void stop_gang(const wire::StopGang& order);
  void advance_gangs();
  void gang_is_over(const Gang& gang);
  void report_end(const GangOrder& order, const std::optional<Failure>& failure,
                  const std::string& result_json);
  void send_ends();
  void send_beat();
  void tell_connection(bool connected);
  void acknowledge(uint64_t sequence);
  int used_slots() const;
  bool may_leave(int64_t now_ms);

  AgentOptions options_;
  CoordinatorLink link_;
  int signals_;  ///< signalfd
  std::map<GangId, Gang> gangs_;
  std::map<GangId, Unacknowledged> ends_;
  int64_t next_beat_ms_ = 0;
  bool connected_ = false;
  bool connection_told_ =
      true;  ///< The log knows; false once it was told that there is no connection.
  int64_t last_connected_ms_ = 0;
  int64_t leave_asked_ms_ = 0;  ///< When SIGTERM came; 0: it has not.
  int64_t gangs_gone_ms_ = 0;   ///< After that: when no gang was left.
};

}  // namespace tunefleet::agent

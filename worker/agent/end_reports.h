#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "worker/agent/coordinator_link.h"
#include "worker/agent/first_failure.h"
#include "worker/agent/gang_launch.h"
#include "worker/agent/run_files.h"
#include "worker/agent/slot_ledger.h"

namespace tunefleet::agent {

/// How gangs this agent led have ended: noted in their run directories, and told to the coordinator
/// each second until it acknowledges. Used by the agent's thread.
class EndReports {
 public:
  explicit EndReports(std::string host) : host_(std::move(host)) {}

  bool contains(const GangId& gang) const { return waiting_.contains(gang); }
  bool empty() const { return waiting_.empty(); }

  /// Notes an end, to be told from now on. No `failure`: it ended well. Without a run directory in
  /// `order` nothing is noted on disk.
  void add(const GangOrder& order, const std::optional<Failure>& failure,
           const std::string& result_json);
  /// Again, what a note of gang.json says.
  void repeat(const GangOrder& order, const nlohmann::json& ended);
  /// Sends what is due. `now_ms`: steady clock.
  void send(CoordinatorLink& link, int64_t now_ms);
  /// The coordinator has stored what was sent with that number.
  void acknowledged(uint64_t sequence);

 private:
  struct Waiting {
    wire::GangEnded ended;
    uint64_t sequence = 0;  ///< Of the envelope it was last sent in.
    int64_t sent_ms = 0;    ///< 0: not sent yet.
  };

  std::string host_;
  std::map<GangId, Waiting> waiting_;
};

}  // namespace tunefleet::agent

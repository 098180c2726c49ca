#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire.pb.h"
#include "tests/coordinator/simulate/sim_random.h"

namespace tunefleet::simulate {

using GangKey = std::pair<std::string, int64_t>;  ///< job, attempt

/// What lies on the shared storage of the simulated fleet, and outlives every process.
struct SimDisk {
  struct Run {
    int64_t length = 1;            ///< Steps to do.
    int64_t step = 0;              ///< Of the newest checkpoint.
    int64_t saved_by = 0;          ///< Attempt that wrote it: an earlier one is refused.
    double fails = 0.0;            ///< Chance per second that a rank dies.
    bool user_error = false;       ///< The job itself is wrong: every attempt fails the same way.
    std::optional<double> loss{};  ///< What each step tells, once, whether it arrives or not.
    /// gang.json: the newest attempt that an agent took on, and how it ended.
    int64_t noted_attempt = 0;
    std::optional<wire::GangEnded> ended{};
    bool torn = false;  ///< The note cannot be read: a crash came in between.
  };
  std::map<std::string, Run> runs;
};

/// How the lead of a gang reaches the other agents of it.
struct SimPeers {
  /// Has ranks started there; false: no such agent, or it has not kept the slots.
  std::function<bool(const std::string& host, const GangKey& key)> join;
  std::function<bool(const std::string& host, const GangKey& key)> holds;
  std::function<void(const std::string& host, const GangKey& key)> leave;
};

/// An agent as worker/agent behaves: offers slots, starts gangs once, stops them, tells how they
/// ended until that is acknowledged, remembers in the run directory what it took on. Its ranks take
/// a step a second and save each.
class SimAgent {
 public:
  using Send = std::function<void(wire::Envelope)>;

  SimAgent(std::string host, int64_t slots, SimDisk& disk, uint64_t seed, SimPeers peers,
           Send send);

  void on_message(const wire::Envelope& envelope, int64_t now_ms);
  void on_tick(int64_t now_ms);  ///< Once a second.
  // As a member of a gang that another agent leads.
  bool join(const GangKey& key);
  bool holds(const GangKey& key) const { return gangs_.contains(key) && gangs_.at(key).member; }
  void leave(const GangKey& key);
  /// kill -9 of the agent, and of its ranks with it. What was being written may be torn.
  void crash(bool tears);

  const std::string& host() const { return host_; }
  int64_t slots() const { return slots_; }
  int64_t used_slots() const;
  /// Every gang of which ranks run here, with their number.
  const std::map<GangKey, int64_t>& running() const { return ranks_; }
  /// Reservations by (job, attempt) with their end.
  const std::map<GangKey, std::pair<int64_t, int64_t>>& reserved() const { return reserved_; }
  /// Broken on purpose: starts whatever it is told, whether it fits or not, again and again.
  void start_everything() { careless_ = true; }

 private:
  struct Gang {
    int64_t ranks = 1;  ///< Of all agents.
    bool member = false;
    int64_t stop_at_ms = 0;              ///< 0: not stopping.
    std::vector<std::string> members{};  ///< Of a lead: the other agents.
  };

  void start(const wire::StartGang& order);
  void stop(const wire::StopGang& order, int64_t now_ms);
  void reserve(const wire::ReserveSlots& order, int64_t now_ms);
  bool older_leader(uint64_t generation);
  void tell_loss(const GangKey& key, const SimDisk::Run& run);
  void train(const GangKey& key, Gang& gang, int64_t now_ms);
  bool members_hold(const GangKey& key, const Gang& gang) const;
  void end(const GangKey& key, bool succeeded, const std::string& code, const std::string& why);
  void send_beat();

  std::string host_;
  int64_t slots_;
  SimDisk& disk_;
  Draws draws_;
  SimPeers peers_;
  Send send_;
  std::map<GangKey, Gang> gangs_;
  std::map<GangKey, int64_t> ranks_;                         ///< Ranks here.
  std::map<GangKey, std::pair<int64_t, int64_t>> reserved_;  ///< (slots, until)
  std::map<GangKey, std::pair<wire::GangEnded, uint64_t>> ends_;
  uint64_t sequence_ = 0;
  uint64_t leader_ = 0;
  bool careless_ = false;
};

}  // namespace tunefleet::simulate

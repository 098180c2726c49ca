#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "proto/wire.pb.h"
#include "tests/coordinator/simulate/sim_random.h"

namespace tunefleet::simulate {

/// How a message may fare.
struct NetworkFaults {
  double loss = 0.0;
  double repeat = 0.0;      ///< Delivered twice.
  int64_t slowest_ms = 20;  ///< Delays are drawn up to here: messages overtake each other.
};

/// Carries envelopes between named processes, in simulated time.
class SimNetwork {
 public:
  using Deliver = std::function<void(const std::string& from, const wire::Envelope&)>;

  SimNetwork(uint64_t seed, NetworkFaults faults) : draws_(seed, 1), faults_(faults) {}

  void set_faults(NetworkFaults faults) { faults_ = faults; }
  void connect(const std::string& name, Deliver deliver) { ends_[name] = std::move(deliver); }
  void disconnect(const std::string& name) { ends_.erase(name); }
  /// Cuts a process off, or joins it again.
  void cut(const std::string& name, bool off) {
    off ? (void)cut_.insert(name) : (void)cut_.erase(name);
  }
  bool is_cut(const std::string& name) const { return cut_.contains(name); }

  void send(const std::string& from, const std::string& to, wire::Envelope envelope,
            int64_t now_ms);
  /// When the next message arrives; INT64_MAX: none is under way.
  int64_t next_ms() const;
  void deliver_until(int64_t now_ms);

 private:
  struct Message {
    std::string from, to;
    wire::Envelope envelope;
  };
  Draws draws_;
  NetworkFaults faults_;
  std::map<std::string, Deliver> ends_;
  std::set<std::string> cut_;
  std::map<std::pair<int64_t, uint64_t>, Message> under_way_;  ///< By (arrival, number).
  uint64_t number_ = 0;
};

}  // namespace tunefleet::simulate

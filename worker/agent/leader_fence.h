#pragma once

#include <cstdint>

namespace tunefleet::agent {

/// The newest generation of a coordinator this agent has heard of. A coordinator that was replaced,
/// and does not know it yet, is not obeyed any more. A value.
class LeaderFence {
 public:
  /// Whether an order that carries `leader` counts. 0: its sender does not use generations.
  bool lets_pass(uint64_t leader) {
    if (leader == 0) return true;
    if (leader < newest_) return false;
    newest_ = leader;
    return true;
  }
  uint64_t newest() const { return newest_; }

 private:
  uint64_t newest_ = 0;
};

}  // namespace tunefleet::agent

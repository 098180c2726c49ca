#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tunefleet::coordinator {

/// Ranks of a gang on one agent.
struct GangPart {
  std::string host{};
  int64_t ranks = 0;
  bool operator==(const GangPart&) const = default;
};

/// Where a gang runs: each host once, every count above 0. The first part's agent starts it. In
/// files and in Redis: [["host-a", 2], …].
using Placement = std::vector<GangPart>;

}  // namespace tunefleet::coordinator

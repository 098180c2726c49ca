#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "worker/collective/group.h"

namespace tunefleet::collective {

/// `group`, with one added to `entered` before each collective call: of ranks that stand still, the
/// one with the smallest count is the one the others wait for. `entered` outlives the group and may
/// be read from any thread.
std::unique_ptr<Group> count_calls(std::unique_ptr<Group> group, std::atomic<uint64_t>& entered);

}  // namespace tunefleet::collective

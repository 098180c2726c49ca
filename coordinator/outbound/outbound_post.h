#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/outbound/outbound_guard.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// One POST to be made.
struct OutboundPost {
  std::vector<std::pair<std::string, std::string>> headers{};  ///< Content-Type among them.
  std::string body{};
  std::chrono::milliseconds timeout{10'000};  ///< From the connecting to the reply's end.
  std::function<bool()> cancelled{};          ///< Asked about once a second: true ends the call.
};

/// Sends it to one of the target's addresses and returns the reply's status, whatever it is; a
/// redirect is not followed. At most 64 KiB of the reply are read, and none kept. kUnavailable when
/// no reply came, kTimeout when it took too long, kPermissionDenied when a connection to another
/// address was about to be made, kCancelled. Blocks; any thread.
Result<int> post_outbound(const OutboundTarget& target, const OutboundPost& post);

}  // namespace tunefleet::coordinator

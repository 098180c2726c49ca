#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <variant>
#include <vector>

namespace tunefleet::coordinator {

/// A server that runs.
struct ServerView {
  std::filesystem::path base;
  bool busy = false;  ///< It answers a conversation.
};

/// What to do next about those who wait.
struct StartServer {
  std::filesystem::path base;
  bool operator==(const StartServer&) const = default;
};
struct EndServer {
  std::filesystem::path base;
  bool operator==(const EndServer&) const = default;
};
struct AdmitWaiting {
  size_t index = 0;  ///< Whose turn it is, among those who wait.
  bool operator==(const AdmitWaiting&) const = default;
};
using ServingStep = std::variant<StartServer, EndServer, AdmitWaiting>;

/// The next step; nothing when all must wait for a server that is busy. Pure.
///
/// The first who waits for a server that is free has the turn. A base without a server gets one
/// while fewer than `max_servers` run, else in the place of the free one that was not used for the
/// longest time; nobody overtakes who needs such a place, so that a model that is asked all the
/// time does not keep the others away. `servers`: the one not used for the longest time first.
/// `waiting`: the bases of those who wait, the first to come first.
std::optional<ServingStep> next_serving_step(const std::vector<ServerView>& servers,
                                             const std::vector<std::filesystem::path>& waiting,
                                             size_t max_servers);

}  // namespace tunefleet::coordinator

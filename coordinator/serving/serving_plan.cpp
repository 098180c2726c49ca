#include "coordinator/serving/serving_plan.h"

#include <algorithm>

namespace tunefleet::coordinator {

std::optional<ServingStep> next_serving_step(const std::vector<ServerView>& servers,
                                             const std::vector<std::filesystem::path>& waiting,
                                             size_t max_servers) {
  for (size_t i = 0; i < waiting.size(); ++i) {
    const auto server = std::find_if(servers.begin(), servers.end(), [&](const ServerView& each) {
      return each.base == waiting[i];
    });
    if (server != servers.end()) {
      if (!server->busy) return AdmitWaiting{i};
      continue;
    }
    if (servers.size() < max_servers) return StartServer{waiting[i]};
    const auto free = std::find_if(servers.begin(), servers.end(),
                                   [](const ServerView& each) { return !each.busy; });
    if (free != servers.end()) return EndServer{free->base};
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace tunefleet::coordinator

#include "proto/endpoint_rotation.h"

#include <algorithm>
#include <sstream>

namespace tunefleet {

EndpointRotation::EndpointRotation(const std::string& endpoints, int64_t patience_ms)
    : patience_ms_(patience_ms) {
  std::istringstream list(endpoints);
  for (std::string endpoint; std::getline(list, endpoint, ',');) {
    if (std::ranges::find(endpoints_, endpoint) == endpoints_.end()) endpoints_.push_back(endpoint);
  }
  if (endpoints_.empty()) endpoints_.emplace_back();
}

bool EndpointRotation::moves_on(bool connected, int64_t now_ms) {
  if (connected) silent_since_ms_.reset();
  if (connected || endpoints_.size() == 1) return false;
  if (!silent_since_ms_) silent_since_ms_ = now_ms;
  if (now_ms - *silent_since_ms_ < patience_ms_) return false;
  silent_since_ms_ = now_ms;
  at_ = (at_ + 1) % endpoints_.size();
  return true;
}

}  // namespace tunefleet

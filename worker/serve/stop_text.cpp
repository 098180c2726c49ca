#include "worker/serve/stop_text.h"

#include <algorithm>
#include <utility>

namespace tunefleet::serve {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopText::push(std::string_view piece) {
  if (found_) return {};
  held_ += piece;
  const size_t stop = first_stop();
  found_ = stop != std::string::npos;
  const size_t shown = found_ ? stop : beginning_of_a_stop();
  std::string out = held_.substr(0, shown);
  held_.erase(0, shown);
  return out;
}

std::string StopText::finish() { return found_ ? std::string() : std::exchange(held_, {}); }

/// Where the text begins that is complete first, as if each letter had come alone; of several that
/// are complete at the same letter the longest. npos when there is none.
size_t StopText::first_stop() const {
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  for (const auto& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t complete = at + stop.size();
    if (complete > end || (complete == end && at > begin)) continue;
    begin = at;
    end = complete;
  }
  return begin;
}

/// Where the longest ending of held_ stands that a stop text begins with; its size when none does.
size_t StopText::beginning_of_a_stop() const {
  size_t longest = 0;
  for (const auto& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
    }
  }
  return held_.size() - longest;
}

}  // namespace tunefleet::serve

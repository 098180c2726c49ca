#include "tests/coordinator/simulate/sim_network.h"

#include <limits>

namespace tunefleet::simulate {

void SimNetwork::send(const std::string& from, const std::string& to, wire::Envelope envelope,
                      int64_t now_ms) {
  const bool lost = draws_.chance(faults_.loss);
  const int copies = draws_.chance(faults_.repeat) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    const int64_t arrival = now_ms + draws_.between(1, faults_.slowest_ms);
    if (!lost) under_way_[{arrival, ++number_}] = {from, to, envelope};
  }
}

int64_t SimNetwork::next_ms() const {
  return under_way_.empty() ? std::numeric_limits<int64_t>::max() : under_way_.begin()->first.first;
}

void SimNetwork::deliver_until(int64_t now_ms) {
  while (!under_way_.empty() && under_way_.begin()->first.first <= now_ms) {
    const Message message = std::move(under_way_.begin()->second);
    under_way_.erase(under_way_.begin());
    if (is_cut(message.from) || is_cut(message.to)) continue;
    const auto end = ends_.find(message.to);
    if (end != ends_.end()) end->second(message.from, message.envelope);
  }
}

}  // namespace tunefleet::simulate

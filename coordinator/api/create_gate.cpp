#include "coordinator/api/create_gate.h"

#include <utility>

namespace tunefleet::coordinator {

CreateGate::Pass::Pass(CreateGate& gate, std::string key) : gate_(gate), key_(std::move(key)) {
  std::unique_lock lock(gate_.mutex_);
  // Bounded by the work of the one inside: store calls and reads of small files, each with a
  // timeout.
  gate_.left_.wait(lock, [this] { return !gate_.inside_.contains(key_); });
  gate_.inside_.insert(key_);
}

CreateGate::Pass::~Pass() {
  {
    const std::lock_guard lock(gate_.mutex_);
    gate_.inside_.erase(key_);
  }
  gate_.left_.notify_all();
}

}  // namespace tunefleet::coordinator

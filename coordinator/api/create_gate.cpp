#include "coordinator/api/create_gate.h"

#include <chrono>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr std::chrono::seconds kPatience{30};

}  // namespace

CreateGate::Pass::Pass(CreateGate& gate, std::string key) : gate_(gate), key_(std::move(key)) {
  std::unique_lock lock(gate_.mutex_);
  entered_ =
      gate_.left_.wait_for(lock, kPatience, [this] { return !gate_.inside_.contains(key_); });
  if (entered_) gate_.inside_.insert(key_);
}

CreateGate::Pass::~Pass() {
  if (!entered_) return;
  {
    const std::lock_guard lock(gate_.mutex_);
    gate_.inside_.erase(key_);
  }
  gate_.left_.notify_all();
}

}  // namespace tunefleet::coordinator

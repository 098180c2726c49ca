#include "coordinator/api/create_gate.h"

#include <charconv>
#include <chrono>
#include <string>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr std::chrono::seconds kPatience{30};

}  // namespace

bool is_retry(const HttpRequest& request) {
  const std::string text = request.header("x-stainless-retry-count");
  int count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count > 0;
}

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

#include "tuners/thread_exit.h"

#include <atomic>
#include <utility>
#include <vector>

namespace tunefleet::tuners {
namespace {

/// One thread's number, and who has a value for it.
class Thread {
 public:
  Thread() = default;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() {
    for (const auto& each : known_to_) {
      if (const auto values = each.lock()) values->forget(number_);
    }
  }

  uint64_t number() const { return number_; }
  void add(std::weak_ptr<ThreadValues> values) {
    // A thread may outlive many models: what has gone makes room before the list grows.
    if (known_to_.size() == known_to_.capacity())
      std::erase_if(known_to_, [](const auto& each) { return each.expired(); });
    known_to_.push_back(std::move(values));
  }

 private:
  static uint64_t next_number() {
    static std::atomic<uint64_t> last{0};
    return ++last;
  }

  const uint64_t number_ = next_number();
  std::vector<std::weak_ptr<ThreadValues>> known_to_;
};

Thread& current() {
  thread_local Thread thread;
  return thread;
}

}  // namespace

uint64_t this_thread() { return current().number(); }

void forget_at_thread_exit(std::weak_ptr<ThreadValues> values) { current().add(std::move(values)); }

}  // namespace tunefleet::tuners

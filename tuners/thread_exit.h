#pragma once

#include <cstdint>
#include <memory>

namespace tunefleet::tuners {

/// A number that no other thread of this process has, had or will have: the system's ids of threads
/// come again when one has ended.
uint64_t this_thread();

/// Something that keeps a value for each thread.
class ThreadValues {
 public:
  virtual ~ThreadValues() = default;
  /// Drops that thread's value. Called by the thread itself, as it ends.
  virtual void forget(uint64_t thread) = 0;
};

/// Calls `values->forget(this_thread())` when the calling thread ends, if they still are there.
void forget_at_thread_exit(std::weak_ptr<ThreadValues> values);

}  // namespace tunefleet::tuners

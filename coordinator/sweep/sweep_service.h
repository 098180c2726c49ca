#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "coordinator/sweep/sweep_reconciler.h"

namespace tunefleet::coordinator {

/// Runs a SweepReconciler on a thread of its own, once a second and when woken.
class SweepService {
 public:
  SweepService(JobStore& jobs, SweepStore& sweeps, std::function<void()> wake_fleet,
               std::chrono::milliseconds look_every = std::chrono::seconds(1));
  ~SweepService();

  /// A sweep was submitted or cancelled. Any thread.
  void wake();

 private:
  void run();

  SweepReconciler reconciler_;  ///< Belongs to thread_.
  const std::chrono::milliseconds look_every_;
  std::mutex mutex_;  ///< Guards what follows.
  std::condition_variable changed_;
  bool look_now_ = false;
  bool stopping_ = false;
  std::thread thread_;  // Last: it uses the others.
};

}  // namespace tunefleet::coordinator

#include "coordinator/sweep/sweep_service.h"

#include <string>
#include <utility>

#include "proto/log.h"

namespace tunefleet::coordinator {

SweepService::SweepService(JobStore& jobs, SweepStore& sweeps, std::function<void()> wake_fleet,
                           std::chrono::milliseconds look_every)
    : reconciler_(jobs, sweeps, std::move(wake_fleet)), look_every_(look_every) {
  thread_ = std::thread([this] { run(); });
}

SweepService::~SweepService() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SweepService::wake() {
  {
    const std::lock_guard lock(mutex_);
    look_now_ = true;
  }
  changed_.notify_all();
}

void SweepService::run() {
  std::string told;  // Of a failure that lasts: once.
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    look_now_ = false;
    lock.unlock();
    const auto looked = reconciler_.look();
    const std::string failure = looked ? "" : looked.error().message;
    if (failure != told && !failure.empty()) log::warning("sweeps go on later: " + failure);
    told = failure;
    lock.lock();
    changed_.wait_for(lock, look_every_, [this] { return look_now_ || stopping_; });
  }
}

}  // namespace tunefleet::coordinator

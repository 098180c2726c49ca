#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "tuners/thread_exit.h"

namespace tunefleet::tuners {

/// A value that all threads share or, once asked for, of which each thread has its own: T{} until
/// it sets it, gone when the thread ends. Reading and writing one's own is safe beside other
/// threads doing the same; a shared one is guarded by whoever uses it. A copy shares nothing and
/// holds this thread's value.
template <typename T>
class PerThread {
 public:
  PerThread() = default;
  // NOLINTNEXTLINE(google-explicit-constructor)
  PerThread(T value) : shared_(std::move(value)) {}
  PerThread(const PerThread& other) : shared_(other.get()) {}
  PerThread(PerThread&&) noexcept = default;
  PerThread& operator=(const PerThread& other) { return *this = T(other.get()); }
  PerThread& operator=(PerThread&&) noexcept = default;
  PerThread& operator=(T value) {
    get() = std::move(value);
    return *this;
  }
  ~PerThread() = default;

  const T& get() const { return own_ == nullptr ? shared_ : own_->of_this_thread(); }
  T& get() { return own_ == nullptr ? shared_ : own_->of_this_thread(); }
  // NOLINTNEXTLINE(google-explicit-constructor)
  operator const T&() const { return get(); }

  /// From now on. Before any other thread uses it.
  void give_each_thread_its_own() {
    if (own_ == nullptr) own_ = std::make_shared<Own>();
  }
  /// All threads share one again, which is T{}; no other thread uses it now.
  void share_among_threads() {
    if (own_ == nullptr) return;
    own_.reset();
    shared_ = T{};
  }
  /// Whether the value of any thread satisfies `predicate`.
  template <typename Predicate>
  bool any_thread(const Predicate& predicate) const {
    if (own_ == nullptr) return predicate(shared_);
    const std::shared_lock lock(own_->mutex);
    for (const auto& [thread, value] : own_->values) {
      if (predicate(value)) return true;
    }
    return false;
  }

 private:
  struct Own : ThreadValues, std::enable_shared_from_this<Own> {
    T& of_this_thread() {
      const uint64_t self = this_thread();
      {
        const std::shared_lock lock(mutex);
        if (const auto found = values.find(self); found != values.end()) return found->second;
      }
      forget_at_thread_exit(this->weak_from_this());
      const std::unique_lock lock(mutex);
      return values[self];
    }
    void forget(uint64_t thread) override {
      const std::unique_lock lock(mutex);
      values.erase(thread);
    }

    std::shared_mutex mutex;
    std::map<uint64_t, T> values;  ///< By this_thread(); references stay while others come and go.
  };

  T shared_{};
  std::shared_ptr<Own> own_;  ///< Shared with no other PerThread, but with threads that end.
};

/// The active tuners of a site, outermost first, for all threads or for this one. Owned by their
/// adapters; SwiftModel adds and removes them.
template <typename Tuner>
class TunerList {
 public:
  using Tuners = std::vector<const Tuner*>;

  const Tuners& get() const { return tuners_.get(); }
  size_t size() const { return get().size(); }
  bool empty() const { return get().empty(); }
  const Tuner* operator[](size_t index) const { return get()[index]; }
  auto begin() const { return get().begin(); }
  auto end() const { return get().end(); }
  void push_back(const Tuner* tuner) { tuners_.get().push_back(tuner); }
  void clear() { tuners_.get().clear(); }
  void give_each_thread_its_own() { tuners_.give_each_thread_its_own(); }
  void share_among_threads() { tuners_.share_among_threads(); }

 private:
  PerThread<Tuners> tuners_;
};

}  // namespace tunefleet::tuners

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "coordinator/queue/sweep_store.h"

namespace tunefleet::coordinator {
namespace {

class MemorySweepStore : public SweepStore {
 public:
  explicit MemorySweepStore(std::function<int64_t()> now_ms) : now_ms_(std::move(now_ms)) {}

  Result<SweepRecord> create(const SweepRecord& sweep) override {
    const std::lock_guard lock(mutex_);
    if (find(sweep.id) != nullptr) {
      return fail(ErrorCode::kConflict, fmt::format("there is a sweep of that id: {}", sweep.id));
    }
    SweepRecord stored = sweep;
    stored.phase = SweepPhase::kRunning;
    stored.created_at_ms = now_ms_();
    stored.finished_at_ms = 0;
    sweeps_.push_back(stored);
    return stored;
  }

  Result<SweepRecord> get(const std::string& id) override {
    const std::lock_guard lock(mutex_);
    if (const SweepRecord* found = find(id)) return *found;
    return fail(ErrorCode::kNotFound, fmt::format("no such sweep: {}", id));
  }

  Result<std::vector<SweepRecord>> list(const std::string& owner) override {
    const std::lock_guard lock(mutex_);
    std::vector<SweepRecord> sweeps;
    for (const auto& sweep : sweeps_) {
      if (sweep.owner == owner) sweeps.push_back(sweep);
    }
    std::ranges::reverse(sweeps);
    return sweeps;
  }

  Result<std::vector<SweepRecord>> unfinished() override {
    const std::lock_guard lock(mutex_);
    std::vector<SweepRecord> sweeps;
    for (const auto& sweep : sweeps_) {
      if (!is_final(sweep.phase)) sweeps.push_back(sweep);
    }
    return sweeps;
  }

  Result<SweepRecord> move(const std::string& id, SweepPhase to) override {
    const std::lock_guard lock(mutex_);
    SweepRecord* sweep = find(id);
    if (sweep == nullptr) return fail(ErrorCode::kNotFound, fmt::format("no such sweep: {}", id));
    if (sweep->phase == to) return *sweep;
    if (!is_transition(sweep->phase, to)) {
      return fail(ErrorCode::kConflict, fmt::format("a sweep that is {} cannot be {}: {}",
                                                    phase_name(sweep->phase), phase_name(to), id));
    }
    sweep->phase = to;
    if (is_final(to)) sweep->finished_at_ms = now_ms_();
    return *sweep;
  }

 private:
  /// Null when there is none; mutex_ is held.
  SweepRecord* find(const std::string& id) {
    const auto found = std::ranges::find(sweeps_, id, &SweepRecord::id);
    return found == sweeps_.end() ? nullptr : &*found;
  }

  const std::function<int64_t()> now_ms_;
  std::mutex mutex_;
  std::vector<SweepRecord> sweeps_;  ///< Oldest first. Guarded by mutex_.
};

}  // namespace

std::unique_ptr<SweepStore> make_memory_sweep_store(std::function<int64_t()> now_ms) {
  return std::make_unique<MemorySweepStore>(std::move(now_ms));
}

}  // namespace tunefleet::coordinator

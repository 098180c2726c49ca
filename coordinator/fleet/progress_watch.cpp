#include "coordinator/fleet/progress_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <vector>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kRemembered = 200;

int64_t p99(const std::deque<int64_t>& times) {
  if (times.empty()) return 0;
  std::vector<int64_t> sorted(times.begin(), times.end());
  std::ranges::sort(sorted);
  return sorted[(sorted.size() * 99) / 100];
}

}  // namespace

void ProgressWatch::take(const RankProgress& beat, int64_t now_ms) {
  ranks_[beat.rank] = {.newest = beat, .heard_ms = now_ms};
  const bool other_phase = beat.rank == 0 && beat.phase != phase_;
  if (beat.step > step_ && step_ >= 0 && !other_phase && phase_ == "training") {
    step_ms_.push_back((now_ms - moved_ms_) / (beat.step - step_));
    if (step_ms_.size() > kRemembered) step_ms_.pop_front();
  }
  if (beat.step > step_ || other_phase) moved_ms_ = now_ms;
  step_ = std::max(step_, beat.step);
  if (beat.rank == 0) phase_ = beat.phase;
}

int64_t ProgressWatch::limit_ms(const HangTimes& times) const {
  if (phase_ != "training" || step_ms_.empty()) return times.other_phase_ms;
  const auto slow = static_cast<int64_t>(times.step_factor * static_cast<double>(p99(step_ms_)));
  return std::max(times.shortest_ms, slow);
}

const ProgressWatch::Rank& ProgressWatch::to_blame(const HangTimes& times, int64_t now_ms) const {
  const auto order = [&](const auto& entry) {
    const Rank& rank = entry.second;
    const bool silent = now_ms - rank.heard_ms > times.silent_rank_ms;
    return std::make_tuple(!silent, rank.newest.step, rank.newest.collectives, rank.newest.rank);
  };
  return std::ranges::min_element(ranks_, {}, order)->second;
}

std::optional<HungRank> ProgressWatch::hung(const HangTimes& times, int64_t now_ms) const {
  if (ranks_.empty() || phase_ == "finished") return std::nullopt;
  const int64_t still_ms = now_ms - moved_ms_;
  if (still_ms <= limit_ms(times)) return std::nullopt;
  const Rank& rank = to_blame(times, now_ms);
  const int64_t silent_ms = now_ms - rank.heard_ms;
  std::string message =
      fmt::format("no progress for {} s at step {}", still_ms / 1000, rank.newest.step);
  if (silent_ms > times.silent_rank_ms) {
    message += fmt::format(", its beats have stopped for {} s", silent_ms / 1000);
  }
  return HungRank{
      .rank = rank.newest.rank, .host = rank.newest.host, .message = std::move(message)};
}

void ProgressWatch::forgive(int64_t stalled_ms) {
  moved_ms_ += stalled_ms;
  for (auto& [number, rank] : ranks_) rank.heard_ms += stalled_ms;
}

}  // namespace tunefleet::coordinator

#include "coordinator/scheduler/fair_share.h"

#include <algorithm>
#include <cmath>

namespace tunefleet::coordinator {
namespace {

constexpr double kHourMs = 3'600'000.0;

/// Whole points of priority, those for waiting included.
int64_t class_of(const WaitingJob& job, bool ages, const PlanInput& input) {
  if (!ages) return job.priority;
  const int64_t since_ms = job.queued_at_ms != 0 ? job.queued_at_ms : job.submitted_at_ms;
  const auto waited_ms = static_cast<double>(std::max<int64_t>(0, input.now_ms - since_ms));
  const double points = std::max(0.0, input.policy.ageing_per_hour) * waited_ms / kHourMs;
  return job.priority + static_cast<int64_t>(std::floor(points));
}

}  // namespace

FairOrder::FairOrder(const PlanInput& input, const TenantLedger& ledger) : ledger_(ledger) {
  entries_.reserve(input.waiting.size());
  for (size_t i = 0; i < input.waiting.size(); ++i) {
    const WaitingJob& job = input.waiting[i];
    const size_t tenant = ledger.id_of(job.tenant);
    const int64_t rank_class = class_of(job, !ledger.above_share(tenant), input);
    entries_.push_back({-rank_class, tenant, job.submitted_at_ms, i});  // Highest first.
  }
  std::ranges::sort(entries_);
}

std::optional<size_t> FairOrder::next() {
  if (served_) add_line(served_->entry + 1, served_->end);
  served_.reset();
  if (lines_.empty()) open_class();
  if (lines_.empty()) return std::nullopt;
  served_ = *lines_.begin();
  lines_.erase(lines_.begin());
  return served_->job;
}

void FairOrder::open_class() {
  if (next_entry_ == entries_.size()) return;
  const int64_t opened = entries_[next_entry_].rank_class;
  while (next_entry_ < entries_.size() && entries_[next_entry_].rank_class == opened) {
    const size_t begin = next_entry_;
    while (next_entry_ < entries_.size() && entries_[next_entry_].rank_class == opened &&
           entries_[next_entry_].tenant == entries_[begin].tenant) {
      ++next_entry_;
    }
    add_line(begin, next_entry_);
  }
}

void FairOrder::add_line(size_t entry, size_t end) {
  if (entry == end) return;
  const Entry& first = entries_[entry];
  lines_.insert({.score = ledger_.score(first.tenant),
                 .submitted_at_ms = first.submitted_at_ms,
                 .job = first.job,
                 .entry = entry,
                 .end = end});
}

}  // namespace tunefleet::coordinator

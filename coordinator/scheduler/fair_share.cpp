#include "coordinator/scheduler/fair_share.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

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

/// Jobs are given out in another order than they have in memory, which has them fetched late; who
/// comes soon is known, and is fetched ahead.
void fetch_ahead(const WaitingJob& job) {
  constexpr size_t kLine = 64;
  const char* const bytes = reinterpret_cast<const char*>(&job);
  for (size_t at = 0; at < sizeof(job); at += kLine) __builtin_prefetch(bytes + at);
}

}  // namespace

FairOrder::FairOrder(const PlanInput& input, const TenantLedger& ledger)
    : waiting_(input.waiting), ledger_(ledger) {
  entries_.reserve(input.waiting.size());
  for (size_t i = 0; i < input.waiting.size(); ++i) {
    const WaitingJob& job = input.waiting[i];
    const size_t tenant = ledger.of_waiting(i);
    const int64_t rank_class = class_of(job, !ledger.above_share(tenant), input);
    entries_.push_back({-rank_class, tenant, job.submitted_at_ms, i});  // Highest first.
  }
  std::ranges::sort(entries_);
}

std::optional<FairOrder::Next> FairOrder::next() {
  if (std::exchange(top_served_, false)) leave_top();
  if (lines_.empty()) open_class();
  if (lines_.empty()) return std::nullopt;
  top_served_ = true;
  for (size_t i = 1; i < std::min<size_t>(3, lines_.size()); ++i) {  // One of them is the next.
    __builtin_prefetch(waiting_[lines_[i].job].id.data());
  }
  return Next{lines_.front().job, entries_[lines_.front().entry].tenant};
}

/// The top's tenant goes on with its next job of the class.
void FairOrder::leave_top() {
  Line& top = lines_.front();
  if (++top.entry == top.end) {
    std::ranges::pop_heap(lines_, std::greater<>());
    lines_.pop_back();
    return;
  }
  const Entry& next = entries_[top.entry];
  fetch_ahead(waiting_[next.job]);
  top.score = ledger_.score(next.tenant);
  top.submitted_at_ms = next.submitted_at_ms;
  top.job = next.job;
  sink_top();
}

/// Makes lines_ a heap again whose top alone may be out of order.
void FairOrder::sink_top() {
  const Line line = lines_.front();
  size_t at = 0;
  for (size_t child = 1; child < lines_.size(); child = 2 * at + 1) {
    if (child + 1 < lines_.size() && lines_[child] > lines_[child + 1]) ++child;
    if (!(line > lines_[child])) break;
    lines_[at] = lines_[child];
    at = child;
  }
  lines_[at] = line;
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
  fetch_ahead(waiting_[first.job]);
  lines_.push_back({.score = ledger_.score(first.tenant),
                    .submitted_at_ms = first.submitted_at_ms,
                    .job = first.job,
                    .entry = entry,
                    .end = end});
  std::ranges::push_heap(lines_, std::greater<>());
}

}  // namespace tunefleet::coordinator

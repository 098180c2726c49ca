#include "worker/data/bpe_merge.h"

#include <limits>
#include <queue>
#include <span>

namespace tunefleet::data {
namespace {

/// Longer words go through the heap.
constexpr size_t kScanSymbols = 48;

constexpr int32_t kNever = std::numeric_limits<int32_t>::max();

/// A pair that can merge, when it is still what it was.
struct Candidate {
  int32_t rank = 0;
  int32_t left = 0;  ///< Position of the left symbol.
  int32_t left_id = 0;
  int32_t right_id = 0;
  int32_t merged_id = 0;

  /// Lowest rank first, then leftmost: a priority queue hands out its greatest.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

struct Symbol {
  int32_t id = -1;  ///< -1: merged into its left neighbour.
  int32_t previous = -1;
  int32_t next = -1;
};

/// The symbols of a long word and the pairs that may merge.
class HeapMerger {
 public:
  HeapMerger(const MergeTable& merges, const std::vector<int32_t>& ids) : merges_(merges) {
    const auto count = static_cast<int32_t>(ids.size());
    for (int32_t i = 0; i < count; ++i) {
      symbols_.push_back({ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
    }
    for (int32_t i = 0; i + 1 < count; ++i) offer(i);
  }

  void run() {
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      if (still_there(best)) merge(best);
    }
  }

  void write(std::vector<int32_t>& ids) const {
    ids.clear();
    for (int32_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
  }

 private:
  Symbol& at(int32_t i) { return symbols_[static_cast<size_t>(i)]; }
  const Symbol& at(int32_t i) const { return symbols_[static_cast<size_t>(i)]; }

  void offer(int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    const int32_t left_id = at(left).id;
    const int32_t right_id = at(at(left).next).id;
    const Merge merge = merges_.find(left_id, right_id);
    if (merge.rank >= 0) heap_.push({merge.rank, left, left_id, right_id, merge.id});
  }

  bool still_there(const Candidate& candidate) const {
    const Symbol& left = at(candidate.left);
    return left.id == candidate.left_id && left.next >= 0 && at(left.next).id == candidate.right_id;
  }

  void merge(const Candidate& candidate) {
    Symbol& left = at(candidate.left);
    Symbol& right = at(left.next);
    left.id = candidate.merged_id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = candidate.left;
    offer(left.previous);
    offer(candidate.left);
  }

  const MergeTable& merges_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
};

int32_t rank_or_never(const Merge& merge) { return merge.rank < 0 ? kNever : merge.rank; }

/// `pairs[i]` is what symbols i and i + 1 merge into.
size_t lowest_rank(std::span<const Merge> pairs) {
  size_t best = 0;
  for (size_t i = 1; i < pairs.size(); ++i) {
    if (rank_or_never(pairs[i]) < rank_or_never(pairs[best])) best = i;
  }
  return best;
}

}  // namespace

void merge_symbols_by_scan(const MergeTable& merges, std::vector<int32_t>& symbols) {
  thread_local std::vector<Merge> pairs;
  pairs.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    pairs.push_back(merges.find(symbols[i], symbols[i + 1]));
  }
  while (!pairs.empty()) {
    const size_t best = lowest_rank(pairs);
    if (pairs[best].rank < 0) return;
    symbols[best] = pairs[best].id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(best));
    if (best > 0) pairs[best - 1] = merges.find(symbols[best - 1], symbols[best]);
    if (best < pairs.size()) pairs[best] = merges.find(symbols[best], symbols[best + 1]);
  }
}

void merge_symbols_by_heap(const MergeTable& merges, std::vector<int32_t>& symbols) {
  if (symbols.empty()) return;
  HeapMerger merger(merges, symbols);
  merger.run();
  merger.write(symbols);
}

void merge_symbols(const MergeTable& merges, std::vector<int32_t>& symbols) {
  if (symbols.size() <= kScanSymbols) {
    merge_symbols_by_scan(merges, symbols);
  } else {
    merge_symbols_by_heap(merges, symbols);
  }
}

}  // namespace tunefleet::data

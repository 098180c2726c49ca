#include "worker/data/merge_table.h"

#include <bit>

namespace tunefleet::data {

MergeTable::MergeTable(size_t merges) {
  const size_t slots = std::bit_ceil(2 * merges + 2);
  entries_.resize(slots);
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
}

void MergeTable::add(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = key_of(left, right);
  size_t slot = slot_of(key);
  while (entries_[slot].key != kFree) {
    if (entries_[slot].key == key) return;
    slot = (slot + 1) & mask_;
  }
  entries_[slot] = {key, merge};
}

}  // namespace tunefleet::data

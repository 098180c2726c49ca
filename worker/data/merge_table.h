#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tunefleet::data {

/// What two neighbouring tokens become. The lower rank merges first.
struct Merge {
  int32_t rank = -1;  ///< -1: these two do not merge.
  int32_t id = -1;    ///< The token that both become.
};

/// The merges of a BPE vocabulary as a flat hash table with linear probing, at most half full.
class MergeTable {
 public:
  /// Makes room for `merges` entries.
  explicit MergeTable(size_t merges = 0);

  /// Adds a merge; the first one given for a pair stays.
  void add(int32_t left, int32_t right, Merge merge);

  Merge find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t slot = slot_of(key);; slot = (slot + 1) & mask_) {
      const Entry& entry = entries_[slot];
      if (entry.key == key) return entry.merge;
      if (entry.key == kFree) return {};
    }
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Entry {
    uint64_t key = kFree;
    Merge merge;
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> shift_; }

  std::vector<Entry> entries_;
  size_t mask_ = 0;
  int shift_ = 0;
};

}  // namespace tunefleet::data

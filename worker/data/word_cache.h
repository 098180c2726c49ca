#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace tunefleet::data {

/// What words were turned into lately: one slot for each hash, a new word takes the place of an old
/// one. 1 MiB, never grows. Words and results that do not fit a slot are not kept. Not for several
/// threads.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 26;
  static constexpr size_t kMaxIds = 5;

  WordCache() : slots_(kSlots) {}

  /// Hash of a word of the vocabulary `instance`; the word must be no longer than kMaxBytes.
  static uint64_t hash(std::string_view word, uint64_t instance) {
    std::array<uint64_t, 4> chunks{};
    std::memcpy(chunks.data(), word.data(), word.size());
    uint64_t hash = instance * 0x9E3779B97F4A7C15u + word.size();
    for (const uint64_t chunk : chunks) {
      hash = (hash ^ chunk) * 0xFF51AFD7ED558CCDu;
      hash ^= hash >> 32;
    }
    return hash;
  }

  /// Appends the ids kept for a word; false when it is not there.
  bool append(std::string_view word, uint64_t hash, std::vector<int32_t>& ids) const {
    const Slot& slot = slots_[hash % kSlots];
    if (slot.hash != hash || slot.bytes != word.size()) return false;
    if (std::memcmp(slot.word.data(), word.data(), word.size()) != 0) return false;
    ids.insert(ids.end(), slot.ids.data(), slot.ids.data() + slot.count);
    return true;
  }

  void keep(std::string_view word, uint64_t hash, std::span<const int32_t> ids) {
    if (ids.size() > kMaxIds) return;
    Slot& slot = slots_[hash % kSlots];
    slot.hash = hash;
    slot.bytes = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(ids.size());
    std::memcpy(slot.word.data(), word.data(), word.size());
    std::copy(ids.begin(), ids.end(), slot.ids.begin());
  }

 private:
  static constexpr size_t kSlots = size_t{1} << 14;
  struct Slot {
    uint64_t hash = 0;
    uint8_t bytes = 0;
    uint8_t count = 0;
    std::array<char, kMaxBytes> word{};
    std::array<int32_t, kMaxIds> ids{};
  };

  std::vector<Slot> slots_;
};

}  // namespace tunefleet::data

#pragma once

#include <cstddef>
#include <random>
#include <string>

namespace tunefleet::storage {

/// Calls `check` with every proper prefix of `content` that ends in its first bytes, where headers
/// are, and with every 11th beyond.
template <typename Check>
void for_each_truncation(const std::string& content, const Check& check) {
  constexpr size_t kEachUpTo = 1024, kStride = 11;
  for (size_t size = 0; size < content.size(); size += size < kEachUpTo ? 1 : kStride) {
    check(content.substr(0, size));
  }
}

/// Calls `check` with `count` copies of `content`, each with one to four bits turned over among its
/// first `span` bytes; the same copies for the same seed.
template <typename Check>
void for_each_bit_flip(const std::string& content, size_t span, int count, unsigned seed,
                       const Check& check) {
  std::mt19937 random(seed);
  for (int i = 0; i < count; ++i) {
    std::string altered = content;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips) {
      altered[random() % span] ^= static_cast<char>(1u << (random() % 8));
    }
    check(altered);
  }
}

}  // namespace tunefleet::storage

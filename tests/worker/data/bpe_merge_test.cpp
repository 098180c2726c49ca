#include "worker/data/bpe_merge.h"

#include <gtest/gtest.h>

#include <random>

namespace tunefleet::data {
namespace {

/// Merges the lowest rank, leftmost, one at a time: what both ways must give.
std::vector<int32_t> merge_one_by_one(const MergeTable& merges, std::vector<int32_t> symbols) {
  while (true) {
    Merge best;
    size_t where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge merge = merges.find(symbols[i], symbols[i + 1]);
      if (merge.rank >= 0 && (best.rank < 0 || merge.rank < best.rank)) best = merge, where = i;
    }
    if (best.rank < 0) return symbols;
    symbols[where] = best.id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

class BpeMergeTest : public testing::TestWithParam<size_t> {};

TEST_P(BpeMergeTest, ScanAndHeapGiveWhatMergingOneByOneGives) {
  const size_t length = GetParam();
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    constexpr int32_t kSymbols = 4;
    MergeTable merges(60);
    for (int32_t rank = 0; rank < 60; ++rank) {
      const auto limit = static_cast<uint32_t>(kSymbols + rank);
      merges.add(static_cast<int32_t>(random() % limit), static_cast<int32_t>(random() % limit),
                 {rank, kSymbols + rank});
    }
    std::vector<int32_t> symbols(length);
    for (auto& symbol : symbols) symbol = static_cast<int32_t>(random() % kSymbols);
    auto by_scan = symbols, by_heap = symbols, by_either = symbols;
    merge_symbols_by_scan(merges, by_scan);
    merge_symbols_by_heap(merges, by_heap);
    merge_symbols(merges, by_either);
    const auto expected = merge_one_by_one(merges, symbols);
    EXPECT_EQ(by_scan, expected) << "seed " << seed;
    EXPECT_EQ(by_heap, expected) << "seed " << seed;
    EXPECT_EQ(by_either, expected) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, BpeMergeTest, testing::Values(0, 1, 2, 3, 8, 48, 49, 300));

TEST(MergeTable, TheFirstMergeOfAPairStays) {
  MergeTable merges(2);
  merges.add(1, 2, {0, 7});
  merges.add(1, 2, {1, 8});
  EXPECT_EQ(merges.find(1, 2).id, 7);
  EXPECT_EQ(merges.find(2, 1).rank, -1);
}

}  // namespace
}  // namespace tunefleet::data

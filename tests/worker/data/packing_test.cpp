#include "worker/data/packing.h"

#include <gmock/gmock.h>

#include <numeric>
#include <random>

#include "worker/data/batch.h"

namespace tunefleet::data {
namespace {

using testing::ElementsAre;

class PackingTest : public testing::TestWithParam<int64_t> {};

TEST_P(PackingTest, EveryExampleIsInOnePackThatHasRoom) {
  const int64_t count = GetParam();
  std::mt19937 random(static_cast<uint32_t>(count));
  std::vector<int64_t> lengths(static_cast<size_t>(count));
  for (auto& length : lengths) length = 1 + static_cast<int64_t>(random() % 512);
  const auto packs = pack(lengths, 512);
  EXPECT_EQ(pack(lengths, 512), packs);
  std::vector<int64_t> seen;
  for (const auto& one : packs) {
    int64_t tokens = 0;
    for (const int64_t index : one) tokens += lengths[static_cast<size_t>(index)];
    EXPECT_LE(tokens, 512);
    EXPECT_TRUE(std::ranges::is_sorted(one));
    seen.insert(seen.end(), one.begin(), one.end());
  }
  std::ranges::sort(seen);
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(seen, all);
  // Best fit decreasing needs at most 11/9 of the best packing and one pack; full packs bound the
  // best.
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  EXPECT_LE(static_cast<double>(packs.size()),
            11.0 / 9.0 * static_cast<double>((tokens + 511) / 512) + 1);
}

INSTANTIATE_TEST_SUITE_P(Counts, PackingTest, testing::Values(0, 1, 2, 10, 1000));

TEST(Packing, PutsTheLongestFirstWhereTheyFitBest) {
  EXPECT_THAT(pack(std::vector<int64_t>{3, 9, 5, 2, 1}, 10),
              ElementsAre(ElementsAre(0, 2, 3), ElementsAre(1, 4)));
  EXPECT_THROW(pack(std::vector<int64_t>{11}, 10), std::invalid_argument);
}

EncodedDataset three_rows() {
  EncodedDataset dataset;
  dataset.append(std::vector<int32_t>{1, 2, 3}, std::vector<int32_t>{-100, 2, 3});
  dataset.append(std::vector<int32_t>{4}, std::vector<int32_t>{-100});
  dataset.append(std::vector<int32_t>{5, 6}, std::vector<int32_t>{-100, 6});
  return dataset;
}

TEST(Batch, RowsStandOneAfterAnotherWithTheirBoundaries) {
  const auto batch = make_batch(three_rows(), std::vector<int64_t>{2, 0, 1});
  EXPECT_THAT(batch.input_ids, ElementsAre(5, 6, 1, 2, 3, 4));
  EXPECT_THAT(batch.labels, ElementsAre(-100, 6, -100, 2, 3, -100));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 0, 1, 2, 0));
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 2, 5, 6));
  EXPECT_THAT(batch.row_ids, ElementsAre(2, 0, 1));
  EXPECT_EQ(batch.trained_tokens(), 3);
}

TEST(Batch, NoRowsGiveAnEmptyBatch) {
  const auto batch = make_batch(three_rows(), {});
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0));
  EXPECT_TRUE(batch.input_ids.empty());
  EXPECT_THROW(make_batch(three_rows(), std::vector<int64_t>{3}), std::out_of_range);
}

TEST(Batch, PackedRowsKeepEveryTokenAndEveryBoundary) {
  const auto dataset = three_rows();
  int64_t tokens = 0;
  for (const auto& one : pack(dataset, 4)) {
    const auto batch = make_batch(dataset, one);
    tokens += static_cast<int64_t>(batch.input_ids.size());
    ASSERT_EQ(batch.cu_seqlens.size(), one.size() + 1);
    for (size_t row = 0; row < one.size(); ++row) {
      const auto begin = static_cast<size_t>(batch.cu_seqlens[row]);
      const auto end = static_cast<size_t>(batch.cu_seqlens[row + 1]);
      EXPECT_EQ(static_cast<int64_t>(end - begin), dataset.length(one[row]));
      for (size_t i = begin; i < end; ++i) {
        EXPECT_EQ(batch.input_ids[i], dataset.input_ids(one[row])[i - begin]);
        EXPECT_EQ(batch.positions[i], static_cast<int32_t>(i - begin));
      }
    }
  }
  EXPECT_EQ(tokens, dataset.tokens());
}

}  // namespace
}  // namespace tunefleet::data

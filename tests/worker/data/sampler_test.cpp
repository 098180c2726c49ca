#include "worker/data/sampler.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace tunefleet::data {
namespace {

using testing::ElementsAre;

struct SamplerCase {
  int64_t rows;
  int64_t batch_total;
};

class SamplerTest : public testing::TestWithParam<SamplerCase> {};

TEST_P(SamplerTest, AnEpochHasEveryRowOnce) {
  const auto [rows, batch_total] = GetParam();
  for (const bool shuffle : {false, true}) {
    Sampler sampler(rows, 42, shuffle);
    const int64_t steps = sampler.steps_per_epoch(batch_total);
    EXPECT_EQ(steps, (rows + batch_total - 1) / batch_total);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> seen;
      for (int64_t step = 0; step < steps; ++step) {
        const auto batch = sampler.global_batch(epoch * steps + step, batch_total);
        EXPECT_EQ(static_cast<int64_t>(batch.size()),
                  std::min(batch_total, rows - step * batch_total));
        seen.insert(seen.end(), batch.begin(), batch.end());
      }
      EXPECT_EQ(seen, sampler.epoch_order(epoch));
      std::ranges::sort(seen);
      std::vector<int64_t> all(static_cast<size_t>(rows));
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(seen, all);
    }
  }
}

TEST_P(SamplerTest, AnyStepIsTheSameAskedForAlone) {
  const auto [rows, batch_total] = GetParam();
  Sampler forward(rows, 7, true);
  for (int64_t step = 0; step < 12; ++step) {
    Sampler fresh(rows, 7, true);
    EXPECT_EQ(fresh.global_batch(step, batch_total), forward.global_batch(step, batch_total));
  }
}

TEST_P(SamplerTest, RanksTogetherHaveTheBatchWhateverTheirNumber) {
  const auto [rows, batch_total] = GetParam();
  Sampler sampler(rows, 42, true);
  for (const int64_t world_size : {1, 2, 3, 8}) {
    for (const int64_t micro_batch : {1, 2, 5}) {
      const auto batch = sampler.global_batch(1, batch_total);
      std::vector<std::vector<std::vector<int64_t>>> ranks;
      for (int64_t rank = 0; rank < world_size; ++rank) {
        ranks.push_back(shard(batch, rank, world_size, micro_batch));
        EXPECT_EQ(ranks.back().size(), ranks.front().size());
      }
      std::vector<int64_t>
          together;  // micro-step by micro-step, rank by rank: the batch in its order
      for (size_t micro_step = 0; micro_step < ranks.front().size(); ++micro_step) {
        for (const auto& rank : ranks) {
          EXPECT_LE(rank[micro_step].size(), static_cast<size_t>(micro_batch));
          together.insert(together.end(), rank[micro_step].begin(), rank[micro_step].end());
        }
      }
      EXPECT_EQ(together, batch);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SamplerTest,
                         testing::Values(SamplerCase{1, 1}, SamplerCase{1, 16}, SamplerCase{7, 3},
                                         SamplerCase{16, 16}, SamplerCase{100, 16},
                                         SamplerCase{1000, 7}));

TEST(Sampler, SeedsAndEpochsDiffer) {
  Sampler one(1000, 42, true), other(1000, 43, true);
  EXPECT_NE(one.epoch_order(0), other.epoch_order(0));
  const auto first = one.epoch_order(0);
  EXPECT_NE(one.epoch_order(1), first);
  EXPECT_EQ(one.epoch_order(0), first);
}

TEST(Sampler, OrderIsTheSameInEveryRelease) {
  // Resumed runs depend on it: a change of this order is a change of every checkpoint's meaning.
  EXPECT_THAT(Sampler(8, 42, true).epoch_order(0), ElementsAre(7, 5, 4, 6, 0, 1, 2, 3));
}

TEST(Sampler, EveryPlaceIsAsLikely) {
  std::vector<int64_t> at_front(5, 0);
  Sampler sampler(5, 1, true);
  for (int64_t epoch = 0; epoch < 5000; ++epoch) {
    ++at_front[static_cast<size_t>(sampler.epoch_order(epoch).front())];
  }
  for (const int64_t count : at_front) EXPECT_NEAR(static_cast<double>(count), 1000.0, 150.0);
}

TEST(Sampler, WrongArgumentsThrow) {
  EXPECT_THROW(Sampler(0, 42, true), std::invalid_argument);
  EXPECT_THROW(Sampler(3, 42, true).steps_per_epoch(0), std::invalid_argument);
  EXPECT_THROW(shard({}, 2, 2, 1), std::invalid_argument);
  EXPECT_THROW(shard({}, 0, 1, 0), std::invalid_argument);
  EXPECT_THROW(split_rows(3, 1.0, 42), std::invalid_argument);
  EXPECT_THROW(split_rows(3, -0.1, 42), std::invalid_argument);
}

TEST(EvaluationShard, GoesThroughTheRowsInOrder) {
  EXPECT_THAT(evaluation_shard(5, 0, 2, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(4)));
  EXPECT_THAT(evaluation_shard(5, 1, 2, 2), ElementsAre(ElementsAre(2, 3), ElementsAre()));
  EXPECT_TRUE(evaluation_shard(0, 0, 1, 1).empty());
}

struct SplitCase {
  int64_t rows;
  double ratio;
  size_t held_out;
};

class SplitRowsTest : public testing::TestWithParam<SplitCase> {};

TEST_P(SplitRowsTest, HoldsOutThatManyAndLosesNone) {
  const auto [rows, ratio, held_out] = GetParam();
  const auto split = split_rows(rows, ratio, 42);
  EXPECT_EQ(split.eval.size(), held_out);
  EXPECT_TRUE(std::ranges::is_sorted(split.train));
  EXPECT_TRUE(std::ranges::is_sorted(split.eval));
  std::set<int64_t> all(split.train.begin(), split.train.end());
  all.insert(split.eval.begin(), split.eval.end());
  EXPECT_EQ(static_cast<int64_t>(all.size()), rows);
  EXPECT_EQ(split_rows(rows, ratio, 42).eval, split.eval);
}

INSTANTIATE_TEST_SUITE_P(Ratios, SplitRowsTest,
                         testing::Values(SplitCase{100, 0.0, 0}, SplitCase{100, 0.01, 1},
                                         SplitCase{100, 0.2, 20}, SplitCase{10, 0.01, 1},
                                         SplitCase{2, 0.99, 1}, SplitCase{1, 0.5, 0}));

}  // namespace
}  // namespace tunefleet::data

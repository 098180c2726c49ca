#include "worker/data/sampler.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "proto/step_count.h"

namespace tunefleet::data {
namespace {

/// Streams of random numbers that must not meet.
constexpr uint64_t kEpochStream = 0x65706F6368;  // "epoch"
constexpr uint64_t kSplitStream = 0x73706C6974;  // "split"

/// SplitMix64's output function: a bijection whose values at 0, 1, 2, … pass for random.
/// Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// Numbers drawn by counting: the n-th depends on the key and n alone.
class CounterRandom {
 public:
  explicit CounterRandom(uint64_t key) : key_(key) {}

  /// A number in [0, bound), each as likely; bound >= 1.
  uint64_t below(uint64_t bound) {
    const uint64_t unfair =
        -bound % bound;  // 2^64 mod bound: below it numbers would come once too often
    while (true) {
      const uint64_t value = mix(key_ ^ mix(counter_++));
      if (value >= unfair) return value % bound;
    }
  }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

std::vector<int64_t> identity(int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

/// Fisher and Yates' shuffle.
std::vector<int64_t> permutation(int64_t count, uint64_t key) {
  auto order = identity(count);
  CounterRandom random(key);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

uint64_t key_of(uint64_t seed, uint64_t stream, uint64_t index) {
  return mix(mix(mix(seed) ^ stream) ^ index);
}

}  // namespace

Sampler::Sampler(int64_t rows, int64_t data_seed, bool shuffle)
    : rows_(rows), seed_(static_cast<uint64_t>(data_seed)), shuffle_(shuffle) {
  if (rows < 1) throw std::invalid_argument("a sampler needs at least one row");
}

int64_t Sampler::steps_per_epoch(int64_t batch_total) const {
  if (batch_total < 1) throw std::invalid_argument("batch_total must be at least 1");
  return (rows_ + batch_total - 1) / batch_total;
}

const std::vector<int64_t>& Sampler::epoch_order(int64_t epoch) {
  if (order_.empty() || (shuffle_ && epoch != cached_epoch_)) {
    const auto key = key_of(seed_, kEpochStream, static_cast<uint64_t>(epoch));
    order_ = shuffle_ ? permutation(rows_, key) : identity(rows_);
    cached_epoch_ = epoch;
  }
  return order_;
}

std::vector<int64_t> Sampler::global_batch(int64_t step, int64_t batch_total) {
  const int64_t steps = steps_per_epoch(batch_total);
  if (step < 0) throw std::invalid_argument("a step must not be negative");
  const auto& order = epoch_order(step / steps);
  const int64_t begin = step % steps * batch_total;
  const int64_t end = std::min(begin + batch_total, rows_);
  return {order.begin() + begin, order.begin() + end};
}

std::vector<std::vector<int64_t>> shard(std::span<const int64_t> batch, int64_t rank,
                                        int64_t world_size, int64_t micro_batch) {
  if (rank < 0 || rank >= world_size || micro_batch < 1) {
    throw std::invalid_argument("a shard needs 0 <= rank < world_size and micro_batch >= 1");
  }
  const auto count = static_cast<int64_t>(batch.size());
  std::vector<std::vector<int64_t>> micro_steps;
  for (int64_t first = 0; first < count; first += world_size * micro_batch) {
    const int64_t begin = std::min(first + rank * micro_batch, count);
    const int64_t end = std::min(begin + micro_batch, count);
    micro_steps.emplace_back(batch.begin() + begin, batch.begin() + end);
  }
  return micro_steps;
}

std::vector<std::vector<int64_t>> evaluation_shard(int64_t rows, int64_t rank, int64_t world_size,
                                                   int64_t micro_batch) {
  return shard(identity(rows), rank, world_size, micro_batch);
}

RowSplit split_rows(int64_t rows, double ratio, int64_t data_seed) {
  if (!(ratio >= 0.0 && ratio < 1.0)) {
    throw std::invalid_argument("split_dataset_ratio must be at least 0 and below 1");
  }
  const int64_t held_out = held_out_rows(rows, ratio);
  if (held_out == 0) return {identity(rows), {}};
  const auto drawn = permutation(rows, key_of(static_cast<uint64_t>(data_seed), kSplitStream, 0));
  RowSplit split;
  split.eval.assign(drawn.begin(), drawn.begin() + held_out);
  split.train.assign(drawn.begin() + held_out, drawn.end());
  std::ranges::sort(split.eval);
  std::ranges::sort(split.train);
  return split;
}

}  // namespace tunefleet::data

#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tunefleet::data {

/// Says which rows a step trains on: a pure function of (data_seed, epoch, position), so that it
/// does not depend on the number of ranks and a resumed run goes on with the rows it would have
/// had. A row is an example, or with packing a pack. Not for several threads (it keeps one epoch's
/// order).
class Sampler {
 public:
  /// Throws std::invalid_argument when rows < 1.
  Sampler(int64_t rows, int64_t data_seed, bool shuffle);

  int64_t rows() const { return rows_; }

  /// Optimizer steps to see every row once; the last one may have fewer rows. batch_total: rows of
  /// a step over all ranks and micro-steps, at least 1.
  int64_t steps_per_epoch(int64_t batch_total) const;

  /// Row indices of optimizer step `step`, from 0, over all epochs: batch_total of them, fewer in
  /// the last step of an epoch.
  std::vector<int64_t> global_batch(int64_t step, int64_t batch_total);

  /// All rows in the order of an epoch.
  const std::vector<int64_t>& epoch_order(int64_t epoch);

 private:
  int64_t rows_;
  uint64_t seed_;
  bool shuffle_;
  int64_t cached_epoch_ = -1;
  std::vector<int64_t> order_;
};

/// What one rank does of a global batch, one list for each micro-step: micro-step m covers rows
/// [m * world_size * micro_batch, …), of which rank r takes the r-th micro_batch. Every rank has
/// the same number of micro-steps; at a batch's end some may be short or empty. Throws
/// std::invalid_argument unless 0 <= rank < world_size and micro_batch >= 1.
std::vector<std::vector<int64_t>> shard(std::span<const int64_t> batch, int64_t rank,
                                        int64_t world_size, int64_t micro_batch);

/// The rows 0, 1, 2, … that evaluation goes through, shared out the same way.
std::vector<std::vector<int64_t>> evaluation_shard(int64_t rows, int64_t rank, int64_t world_size,
                                                   int64_t micro_batch);

/// Which rows are held out. Both lists ascend and together are all rows.
struct RowSplit {
  std::vector<int64_t> train;
  std::vector<int64_t> eval;
};

/// Holds out max(1, floor(rows * ratio)) rows drawn by data_seed, but never all; none when ratio is
/// 0 or there is only one row. Throws std::invalid_argument unless 0 <= ratio < 1.
RowSplit split_rows(int64_t rows, double ratio, int64_t data_seed);

}  // namespace tunefleet::data

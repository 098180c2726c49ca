#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/data/encoded_dataset.h"

namespace tunefleet::data {

/// What one rank trains on in one micro-step, without padding: the rows' tokens one after another,
/// N in all.
struct Batch {
  std::vector<int32_t> input_ids;  ///< [N]
  std::vector<int32_t> labels;     ///< [N], aligned with input_ids; the shift happens inside a row.
  std::vector<int32_t> positions;  ///< [N], from 0 in every row.
  std::vector<int32_t>
      cu_seqlens;  ///< [rows + 1]: where rows begin, and N. Attention stays within a row.
  std::vector<int64_t> row_ids;  ///< [rows]: indices into the data set.

  /// Labels that are learnt: the divisor of the loss.
  int64_t trained_tokens() const;
};

/// The rows at `indices`, in that order; no indices give an empty batch (cu_seqlens is {0}).
/// Throws std::out_of_range on an index outside the data set, std::invalid_argument past 2^31 - 1
/// tokens.
Batch make_batch(const EncodedDataset& dataset, std::span<const int64_t> indices);

}  // namespace tunefleet::data

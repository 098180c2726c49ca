#pragma once

#include <cstdint>
#include <vector>

namespace tunefleet::models {

/// Token sequences laid one behind the other, without padding.
struct TokenBatch {
  std::vector<int32_t> input_ids;   ///< [N]
  std::vector<int32_t> positions;   ///< [N], from 0 within each sequence.
  std::vector<int32_t> boundaries;  ///< Sequences + 1 offsets, 0 … N.
  std::vector<int32_t>
      labels;  ///< [N] as input_ids, -100 where nothing is learned; empty when there is no loss.
};

/// One sequence at positions first, first + 1, …
TokenBatch single_sequence(std::vector<int32_t> ids, int32_t first = 0);

/// The rows whose next token in the same sequence is labelled, and that label.
struct LabelledRows {
  std::vector<int64_t> rows;
  std::vector<int64_t> targets;
  std::vector<int64_t> in_sequence;  ///< How many of them each sequence has.
};
LabelledRows labelled_rows(const TokenBatch& batch);

}  // namespace tunefleet::models

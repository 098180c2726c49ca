#include "worker/models/token_batch.h"

#include <numeric>
#include <utility>

namespace tunefleet::models {

TokenBatch single_sequence(std::vector<int32_t> ids, int32_t first) {
  TokenBatch batch;
  batch.positions.resize(ids.size());
  std::iota(batch.positions.begin(), batch.positions.end(), first);
  batch.boundaries = {0, static_cast<int32_t>(ids.size())};
  batch.input_ids = std::move(ids);
  return batch;
}

LabelledRows labelled_rows(const TokenBatch& batch) {
  LabelledRows out;
  for (size_t s = 0; s + 1 < batch.boundaries.size(); ++s) {
    const size_t before = out.rows.size();
    for (int32_t t = batch.boundaries[s]; t + 1 < batch.boundaries[s + 1]; ++t) {
      const int32_t label = batch.labels[static_cast<size_t>(t) + 1];
      if (label < 0) continue;
      out.rows.push_back(t);
      out.targets.push_back(label);
    }
    out.in_sequence.push_back(static_cast<int64_t>(out.rows.size() - before));
  }
  return out;
}

}  // namespace tunefleet::models

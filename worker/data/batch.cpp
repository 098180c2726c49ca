#include "worker/data/batch.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace tunefleet::data {

int64_t Batch::trained_tokens() const {
  return std::ranges::count_if(labels, [](int32_t label) { return label != kIgnoreLabel; });
}

Batch make_batch(const EncodedDataset& dataset, std::span<const int64_t> indices) {
  Batch batch;
  batch.cu_seqlens.push_back(0);
  batch.row_ids.assign(indices.begin(), indices.end());
  int64_t tokens = 0;
  for (const int64_t index : indices) tokens += dataset.length(index);
  if (tokens > std::numeric_limits<int32_t>::max()) {
    throw std::invalid_argument("a batch has more than 2^31 - 1 tokens");
  }
  batch.input_ids.reserve(static_cast<size_t>(tokens));
  batch.labels.reserve(static_cast<size_t>(tokens));
  batch.positions.reserve(static_cast<size_t>(tokens));
  for (const int64_t index : indices) {
    const auto ids = dataset.input_ids(index);
    const auto labels = dataset.labels(index);
    batch.input_ids.insert(batch.input_ids.end(), ids.begin(), ids.end());
    batch.labels.insert(batch.labels.end(), labels.begin(), labels.end());
    for (int32_t i = 0; i < static_cast<int32_t>(ids.size()); ++i) batch.positions.push_back(i);
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.input_ids.size()));
  }
  return batch;
}

}  // namespace tunefleet::data

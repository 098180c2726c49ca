#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/dataset_rows.h"

namespace tunefleet::data {

/// One training example as token ids.
struct Sample {
  std::vector<int32_t> input_ids;
  std::vector<int32_t>
      labels;  ///< As long as input_ids and aligned: the id itself, or kIgnoreLabel.
};

/// All examples in two flat buffers: 8 bytes for each token, 8 for each example.
class EncodedDataset {
 public:
  /// Adds an example; throws std::invalid_argument when the two differ in length.
  void append(std::span<const int32_t> input_ids, std::span<const int32_t> labels);
  void append(const EncodedDataset& other);

  int64_t size() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t tokens() const { return offsets_.back(); }
  /// Labels that are learnt, over all examples.
  int64_t trained_tokens() const;

  /// Of example `index`, 0 <= index < size(); views until the next append.
  std::span<const int32_t> input_ids(int64_t index) const;
  std::span<const int32_t> labels(int64_t index) const;
  int64_t length(int64_t index) const;

  /// The examples at `indices`, in that order.
  EncodedDataset subset(std::span<const int64_t> indices) const;

 private:
  std::vector<int32_t> input_ids_;
  std::vector<int32_t> labels_;
  std::vector<int64_t> offsets_{0};  ///< Where examples begin, and the end.
};

}  // namespace tunefleet::data

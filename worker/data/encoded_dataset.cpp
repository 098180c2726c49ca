#include "worker/data/encoded_dataset.h"

#include <algorithm>
#include <stdexcept>

namespace tunefleet::data {

void EncodedDataset::append(std::span<const int32_t> input_ids, std::span<const int32_t> labels) {
  if (input_ids.size() != labels.size()) {
    throw std::invalid_argument("an example's labels and input_ids differ in length");
  }
  input_ids_.insert(input_ids_.end(), input_ids.begin(), input_ids.end());
  labels_.insert(labels_.end(), labels.begin(), labels.end());
  offsets_.push_back(static_cast<int64_t>(input_ids_.size()));
}

void EncodedDataset::append(const EncodedDataset& other) {
  const int64_t shift = tokens();
  input_ids_.insert(input_ids_.end(), other.input_ids_.begin(), other.input_ids_.end());
  labels_.insert(labels_.end(), other.labels_.begin(), other.labels_.end());
  offsets_.reserve(offsets_.size() + static_cast<size_t>(other.size()));
  for (size_t i = 1; i < other.offsets_.size(); ++i) offsets_.push_back(shift + other.offsets_[i]);
}

int64_t EncodedDataset::trained_tokens() const {
  return std::ranges::count_if(labels_, [](int32_t label) { return label != kIgnoreLabel; });
}

int64_t EncodedDataset::length(int64_t index) const {
  return offsets_.at(static_cast<size_t>(index) + 1) - offsets_.at(static_cast<size_t>(index));
}

std::span<const int32_t> EncodedDataset::input_ids(int64_t index) const {
  const auto count = static_cast<size_t>(length(index));
  return std::span(input_ids_)
      .subspan(static_cast<size_t>(offsets_[static_cast<size_t>(index)]), count);
}

std::span<const int32_t> EncodedDataset::labels(int64_t index) const {
  const auto count = static_cast<size_t>(length(index));
  return std::span(labels_).subspan(static_cast<size_t>(offsets_[static_cast<size_t>(index)]),
                                    count);
}

EncodedDataset EncodedDataset::subset(std::span<const int64_t> indices) const {
  EncodedDataset chosen;
  for (const int64_t index : indices) chosen.append(input_ids(index), labels(index));
  return chosen;
}

}  // namespace tunefleet::data

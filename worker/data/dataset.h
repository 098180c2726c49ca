#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "proto/result.h"
#include "worker/data/encode.h"
#include "worker/data/encoded_dataset.h"

namespace tunefleet::data {

/// Reads and encodes data-set files, in order, into one data set; one file's text is in memory at a
/// time. Errors as read_dataset() and encode_rows(). kInvalidArgument: not one example is left (the
/// message has the report, which tells why).
Result<EncodedRows> load_dataset(std::span<const std::string> paths, const RowEncoder& encoder);

/// Examples for training and, held out from them, for evaluation.
struct SplitDataset {
  EncodedDataset train;
  EncodedDataset eval;
};

/// Holds out a part of the rows, as split_rows() (sampler.h) chooses them. A row is so many
/// examples next to each other: 2 of a preference.
SplitDataset split_dataset(const EncodedDataset& all, double ratio, int64_t data_seed,
                           int64_t examples_per_row = 1);

/// The indices of the rows' examples, in the rows' order.
std::vector<int64_t> examples_of_rows(std::span<const int64_t> rows, int64_t examples_per_row);

}  // namespace tunefleet::data

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/data/encoded_dataset.h"

namespace tunefleet::data {

/// Puts examples together so that each pack has at most `packing_length` tokens: longest first,
/// each into the fullest pack that still has room (best fit decreasing), O(n log n). Deterministic.
/// Every example is in exactly one pack, whole: a batch keeps the boundaries, and attention does
/// not cross them. Returns example indices; they ascend within a pack, and packs ascend by their
/// first. Throws std::invalid_argument when an example is longer than packing_length.
std::vector<std::vector<int64_t>> pack(std::span<const int64_t> lengths, int64_t packing_length);

/// The same for a data set.
std::vector<std::vector<int64_t>> pack(const EncodedDataset& dataset, int64_t packing_length);

}  // namespace tunefleet::data

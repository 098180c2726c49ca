#pragma once

#include <cstdint>
#include <vector>

#include "worker/data/merge_table.h"

namespace tunefleet::data {

/// Merges neighbouring symbols of one word in place until no two of them merge.
/// Short words are scanned for the lowest rank, O(n^2) with a tiny constant; long ones use a heap
/// and a linked list, O(n log n).
void merge_symbols(const MergeTable& merges, std::vector<int32_t>& symbols);

/// The two ways, apart for tests; they give the same symbols.
void merge_symbols_by_scan(const MergeTable& merges, std::vector<int32_t>& symbols);
void merge_symbols_by_heap(const MergeTable& merges, std::vector<int32_t>& symbols);

}  // namespace tunefleet::data

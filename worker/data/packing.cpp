#include "worker/data/packing.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>

namespace tunefleet::data {

std::vector<std::vector<int64_t>> pack(std::span<const int64_t> lengths, int64_t packing_length) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](int64_t index) { return lengths[static_cast<size_t>(index)]; };
  std::ranges::stable_sort(order, std::ranges::greater{}, length);
  std::vector<std::vector<int64_t>> packs;
  std::multimap<int64_t, size_t>
      room;  // tokens that still fit, and the pack; equals in order of arrival
  for (const int64_t index : order) {
    if (length(index) > packing_length) {
      throw std::invalid_argument(
          "example longer than packing_length: " + std::to_string(length(index)) + " > " +
          std::to_string(packing_length));
    }
    const auto fullest = room.lower_bound(length(index));
    const bool fits = fullest != room.end();
    const size_t chosen = fits ? fullest->second : packs.size();
    const int64_t left = (fits ? fullest->first : packing_length) - length(index);
    if (fits) {
      room.erase(fullest);
    } else {
      packs.emplace_back();
    }
    packs[chosen].push_back(index);
    room.emplace(left, chosen);
  }
  for (auto& one : packs) std::ranges::sort(one);
  std::ranges::sort(packs, {}, [](const auto& one) { return one.front(); });
  return packs;
}

std::vector<std::vector<int64_t>> pack(const EncodedDataset& dataset, int64_t packing_length) {
  std::vector<int64_t> lengths(static_cast<size_t>(dataset.size()));
  for (int64_t i = 0; i < dataset.size(); ++i) lengths[static_cast<size_t>(i)] = dataset.length(i);
  return pack(lengths, packing_length);
}

}  // namespace tunefleet::data

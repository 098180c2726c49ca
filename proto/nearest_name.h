#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace tunefleet {

/// Insertions, deletions, replacements and swaps of neighbours between two names
/// (Damerau-Levenshtein, optimal string alignment). Letter case counts nothing, '-' and '_' are the
/// same.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate that `name` was most likely meant to be: the nearest one within a third of its
/// length (at least one edit). Of equally near ones the first; nothing when none is near enough.
std::optional<std::string_view> nearest_name(std::string_view name,
                                             const std::vector<std::string_view>& candidates);

}  // namespace tunefleet

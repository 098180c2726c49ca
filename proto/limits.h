#pragma once

#include <limits>
#include <string>

namespace tunefleet {

/// What a number may be; for lists and maps it holds for each value.
struct Limits {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  ///< min itself is excluded.
  bool below_max = false;  ///< max itself is excluded.

  bool contains(double value) const;
  /// "at least 1", "above 0", "from 0 to below 1"; empty when everything is allowed.
  std::string text() const;
};

constexpr Limits at_least(double min) { return {.min = min}; }
constexpr Limits above(double min) { return {.min = min, .above_min = true}; }
constexpr Limits between(double min, double max) { return {.min = min, .max = max}; }
constexpr Limits from_to_below(double min, double max) {
  return {.min = min, .max = max, .below_max = true};
}

}  // namespace tunefleet

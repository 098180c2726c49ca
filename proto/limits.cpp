#include "proto/limits.h"

#include <fmt/format.h>

#include <cmath>

namespace tunefleet {

bool Limits::contains(double value) const {
  const bool low_enough = below_max ? value < max : value <= max;
  const bool high_enough = above_min ? value > min : value >= min;
  return low_enough && high_enough;
}

std::string Limits::text() const {
  if (std::isinf(min)) return {};
  if (std::isinf(max)) return fmt::format("{} {}", above_min ? "above" : "at least", min);
  return fmt::format("from {} to {}{}", min, below_max ? "below " : "", max);
}

}  // namespace tunefleet

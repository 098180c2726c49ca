#pragma once

#include <cstdint>
#include <random>

namespace tunefleet::simulate {

/// Draws of one kind of event. Each kind has a stream of its own, so that leaving one kind out (to
/// shorten a failing run) changes no draw of another.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream) : engine_(seed * 0x9E3779B97F4A7C15U + stream) {}

  bool chance(double p) { return unit() < p; }
  /// From low to high, both included.
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  double unit() { return static_cast<double>(engine_() >> 11U) * 0x1.0p-53; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace tunefleet::simulate

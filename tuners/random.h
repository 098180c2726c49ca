#pragma once

#include <cstdint>
#include <string_view>

/// Every random draw is a pure function of who draws it: no hidden generators, so that a resumed run, another number
/// of ranks or a recomputed layer draws the same.
namespace tunefleet::tuners {

/// A well-mixed 64-bit hash of `x` (the finaliser of SplitMix64, Steele et al. 2014).
constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr uint64_t mix(uint64_t a, uint64_t b) { return mix(mix(a) ^ b); }

/// The number of a named stream: FNV-1a of the name, mixed.
constexpr uint64_t stream_id(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix(hash);
}

/// A sequence of draws for one (seed, stream): for initial values and shuffles. A value, 16 bytes.
class RandomStream {
 public:
  constexpr RandomStream(uint64_t seed, uint64_t stream) : key_(mix(seed, stream)) {}
  constexpr uint64_t next() { return mix(key_, counter_++); }
  /// Uniform in [0, 1) with 53 bits.
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Standard normal (Box-Muller, one draw of the pair).
  double normal();

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace tunefleet::tuners

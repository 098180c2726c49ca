#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

/// Vectors for loops over tiles (tile_loops.h): every loop is a template on the number of lanes,
/// made once for 16 of them (AVX-512) and once for 8 (with clones for AVX2 and for any processor).
/// No torch here.
namespace tunefleet::tuners::loops {

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TUNEFLEET_16_LANES __attribute__((target("arch=x86-64-v4")))
#define TUNEFLEET_8_LANES __attribute__((target_clones("arch=x86-64-v3", "default")))
/// Whether the processor has them; not where TUNEFLEET_LANES=8 says to do without (for tests).
inline bool has_16_lanes() {
  static const char* const wanted = std::getenv("TUNEFLEET_LANES");
  static const bool has = (wanted == nullptr || std::strcmp(wanted, "8") != 0) &&
                          __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd");
  return has;
}
#else
#define TUNEFLEET_16_LANES
#define TUNEFLEET_8_LANES
inline bool has_16_lanes() { return false; }
#endif
#define TUNEFLEET_INLINE inline __attribute__((always_inline))

/// Defines `name`(parameters) as `name`_lanes<lanes>(arguments) for the processor at hand.
#define TUNEFLEET_FOR_LANES(name, parameters, arguments)                       \
  namespace {                                                                  \
  TUNEFLEET_16_LANES void name##_16 parameters { name##_lanes<16> arguments; } \
  TUNEFLEET_8_LANES void name##_8 parameters { name##_lanes<8> arguments; }    \
  }                                                                            \
  void name parameters { has_16_lanes() ? name##_16 arguments : name##_8 arguments; }

using Lanes8 = float __attribute__((vector_size(32)));
using Lanes16 = float __attribute__((vector_size(64)));
template <int kLanes>
struct LanesOf {
  using Type = Lanes8;
};
template <>
struct LanesOf<16> {
  using Type = Lanes16;
};
template <int kLanes>
using Lanes = typename LanesOf<kLanes>::Type;

// By reference: how vectors are passed by value depends on the instruction set.
template <typename Vector>
TUNEFLEET_INLINE void load(Vector& v, const float* from) {
  std::memcpy(&v, from, sizeof v);
}
template <typename Vector>
TUNEFLEET_INLINE void store(float* to, const Vector& v) {
  std::memcpy(to, &v, sizeof v);
}

/// The sum of the lanes of each of 8 vectors of 8.
TUNEFLEET_INLINE void sums_of(Lanes8& sums, const Lanes8* v) {
  Lanes8 a[4], b[2];
  for (int i = 0; i < 4; ++i) {  // v0[0] v1[0] v0[2] v1[2] … and the odd ones
    a[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 2; ++i) {
    b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(a[2 * i], a[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  sums = __builtin_shufflevector(b[0], b[1], 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(b[0], b[1], 4, 5, 6, 7, 12, 13, 14, 15);
}

/// Half the lanes: the upper ones added to the lower.
TUNEFLEET_INLINE void folded(Lanes8& to, const Lanes8& v) { to = v; }
TUNEFLEET_INLINE void folded(Lanes8& to, const Lanes16& v) {
  Lanes8 half[2];
  std::memcpy(half, &v, sizeof v);
  to = half[0] + half[1];
}

}  // namespace tunefleet::tuners::loops

#include "worker/trainer/update_loops.h"

#include <bit>
#include <cmath>

#include "worker/kernels/lanes.h"

namespace tunefleet::trainer::loops {
namespace {

TUNEFLEET_INLINE float direction(float m, float v, float epsilon, float first, float second) {
  return m / (std::sqrt(v * second) + epsilon) * first;
}

}  // namespace

TUNEFLEET_CLONES void adam_direction(const float* g, float* m, float* v, float* d, int64_t n,
                                     const Adam& adam) {
  const auto [kept1, new1, kept2, new2, epsilon, first, second] = adam;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    m[i] = kept1 * m[i] + new1 * g[i];
    v[i] = kept2 * v[i] + new2 * (g[i] * g[i]);
    d[i] = direction(m[i], v[i], epsilon, first, second);
  }
}

TUNEFLEET_CLONES void adam_move(const float* g, float* m, float* v, float* w, int64_t n,
                                const Adam& adam, const Move& move) {
  const auto [kept1, new1, kept2, new2, epsilon, first, second] = adam;
  const auto [rate, kept] = move;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    m[i] = kept1 * m[i] + new1 * g[i];
    v[i] = kept2 * v[i] + new2 * (g[i] * g[i]);
    w[i] = (w[i] - rate * direction(m[i], v[i], epsilon, first, second)) * kept;
  }
}

TUNEFLEET_CLONES float largest(const float* x, int64_t n) {
  float top = 0.0F;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = std::fabs(x[i]) > top ? std::fabs(x[i]) : top;
  return top;
}

TUNEFLEET_CLONES void read_codes(const uint8_t* codes, int64_t n, const float* values,
                                 float largest, float* x) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = values[static_cast<int32_t>(codes[i])] * largest;
}

TUNEFLEET_CLONES void write_codes(const float* x, int64_t n, const Buckets& buckets, float largest,
                                  uint8_t* codes) {
  const float over = largest < 1e-38F ? 1e-38F : largest;
  const auto* below = buckets.below;
  const auto* boundaries = buckets.boundaries;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float part = x[i] / over;
    const auto bits = std::bit_cast<int32_t>(part);
    int32_t bucket = (bits & 0x7fffffff) >> Buckets::kDropped;
    bucket = bucket < Buckets::kFirst ? Buckets::kFirst : bucket;
    bucket = bucket > Buckets::kLast ? Buckets::kLast : bucket;
    bucket += bits < 0 ? Buckets::kCount - Buckets::kFirst : -Buckets::kFirst;
    const int32_t code = below[bucket];
    codes[i] = static_cast<uint8_t>(code + (boundaries[code] < part ? 1 : 0));
  }
}

}  // namespace tunefleet::trainer::loops

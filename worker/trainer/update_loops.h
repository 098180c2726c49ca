#pragma once

#include <cstdint>

/// The loops of the optimizers' rules on plain memory, float32: no torch here, so that they are
/// compiled with flags of their own, one clone for each instruction set. Each passes once over its
/// numbers; callers split those over threads, and the results do not depend on where.
namespace tunefleet::trainer::loops {

/// One step of Adam: m = kept1 m + new1 g, v = kept2 v + new2 g^2,
/// d = m / (sqrt(v * second) + epsilon) * first.
struct Adam {
  float kept1, new1;  ///< beta1 and what is left to 1, rounded from float64 each.
  float kept2, new2;
  float epsilon;
  float first = 1.0F, second = 1.0F;  ///< Bias corrections.
};

/// What becomes of a weight w: (w - rate * d) * kept.
struct Move {
  float rate, kept;
};

/// Moves the moments on and writes the directions.
void adam_direction(const float* g, float* m, float* v, float* d, int64_t n, const Adam& adam);
/// Moves the moments and the weights on.
void adam_move(const float* g, float* m, float* v, float* w, int64_t n, const Adam& adam,
               const Move& move);

/// The largest absolute value; 0 of none.
float largest(const float* x, int64_t n);

/// x[i] = values[codes[i]] * largest, with 256 values.
void read_codes(const uint8_t* codes, int64_t n, const float* values, float largest, float* x);

/// Finds where a number of [-1, 1] lies among ascending boundaries by its upper bits: the sign, the
/// exponent from 2^-24 on and seven bits of the fraction.
struct Buckets {
  static constexpr int32_t kDropped = 16;  ///< Lower bits of a float.
  static constexpr int32_t kFirst = 103 << (23 - kDropped), kLast = 127 << (23 - kDropped);
  static constexpr int32_t kCount = kLast - kFirst + 1;  ///< Of either sign.

  const int32_t* below;     ///< [2 * kCount]: boundaries below all of a bucket's numbers.
  const float* boundaries;  ///< [256]; the last is infinite. At most one lies within a bucket.
};

/// codes[i] = how many of the boundaries lie below x[i] / max(largest, 1e-38).
void write_codes(const float* x, int64_t n, const Buckets& buckets, float largest, uint8_t* codes);

}  // namespace tunefleet::trainer::loops

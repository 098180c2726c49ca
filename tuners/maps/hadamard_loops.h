#pragma once

#include <cstdint>

/// Loops over weights that are multiplied by a low-rank matrix of factors, on plain memory: no
/// torch here, so that they are compiled with flags of their own. All is float32 without gaps.
namespace tunefleet::tuners::loops {

/// The factors B A of some rows of a weight W.
struct LowRankFactors {
  const float* a;  ///< [r, width]
  const float* b;  ///< [rows, r]
  int64_t r, rows, width;
};

/// sum [rows, width] = weight + base o (B A).
void add_hadamard(const LowRankFactors& factors, const float* weight, const float* base,
                  float* sum);
/// From the gradient g of the sum: db [rows, r] is written, da [r, width] added to. `room`: 8 width
/// numbers.
void hadamard_gradients(const LowRankFactors& factors, const float* base, const float* g, float* db,
                        float* da, float* room);

}  // namespace tunefleet::tuners::loops

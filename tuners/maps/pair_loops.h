#pragma once

#include <cstdint>

/// Loops over pairs of features on plain memory: no torch here, so that they are compiled with
/// flags of their own. All is float32. Features i and j = i + half are a pair, in groups of 2 half.
namespace tunefleet::tuners::loops {

/// How rows of `width` features are mixed: y_i = along_i z_i + across_i z_j, and the same for j.
struct Pairs {
  int64_t width, half;  ///< 2 half divides width.
  const float* along;   ///< [width]
  const float* across;  ///< [width]
};

/// y [rows, width] from z.
void mix_pairs(const Pairs& pairs, const float* z, int64_t rows, float* y);

/// The gradients from that of y, g [rows, width]. For the features of group `group`: dz [rows,
/// width], left out when null, and sums over the rows, added to along and across [width].
void mix_pairs_backward(const Pairs& pairs, int64_t group, const float* z, const float* g,
                        int64_t rows, float* dz, float* along, float* across);

}  // namespace tunefleet::tuners::loops

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "tuners/maps/tile_fourier.h"

namespace tunefleet::tuners::loops {

/// A matrix of circulant blocks [rows, cols, b], C(w)_ij = w_((j - i) mod b), where it is a small
/// complex matrix for each frequency: between the spectra of blocks, made by
/// TileFourier::analyse(-1) and taken back by synthesise(1), which leaves a factor b. Of a
/// frequency and its mirror image only one is kept: "half" is b / 2 + 1 of them.
class TileCirculant {
 public:
  TileCirculant(int64_t rows, int64_t cols, int64_t b);

  const TileFourier& fourier() const { return fourier_; }
  int64_t numbers() const { return static_cast<int64_t>(halves_.size()) * rows_ * cols_ * 2; }

  /// What the products take, [half, rows, cols, 2], from the blocks [rows, cols, b].
  void spectrum(const float* blocks, float* weights) const;
  /// blocks += scale * the gradient that sums [half, rows, cols, 2] of sampled() mean.
  void add_gradient(const float* sums, float scale, float* blocks) const;

  /// Spectra of x blocks, a tile [cols, b], to those of y blocks, a tile [rows, b].
  void product(const float* weights, const float* x, float* y) const;
  /// The transposed matrix: [rows, b] to [cols, b].
  void transposed(const float* weights, const float* g, float* x) const;
  /// sums += the products of all pairs of blocks, over the tile's tokens.
  void sampled(const float* g, const float* x, float* sums) const;

  /// The places of a frequency and its mirror image in a block.
  using Halves = std::vector<std::pair<int64_t, int64_t>>;

 private:
  int64_t rows_, cols_, b_;
  TileFourier fourier_;
  Halves halves_;
};

}  // namespace tunefleet::tuners::loops

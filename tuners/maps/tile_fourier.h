#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tuners/maps/tile_loops.h"

namespace tunefleet::tuners::loops {

/// Discrete Fourier transforms over the features of a tile, in place. Tokens go in pairs: token t
/// and token t + kTile / 2 are the real and the imaginary part of one complex number, so that a
/// linear map of real vectors that is made of complex ones gives both tokens theirs. Coefficients
/// stand in an order of their own, which spares every transform a reordering. Mixed radix,
/// decimation in frequency there and in time back; prime factors above 5 take as many
/// multiplications for a number as they are large. Immutable.
class TileFourier {
 public:
  /// Of n features.
  explicit TileFourier(int64_t n);

  int64_t size() const { return n_; }
  /// Where the coefficient of a frequency 0 … n - 1 stands.
  int64_t place(int64_t frequency) const;

  /// X[place(f)] = sum_j x[j] e^(sign 2 pi i f j / n); `sign` 1 or -1.
  void analyse(float* tile, int sign) const;
  /// x[j] = sum_f X[place(f)] e^(sign 2 pi i f j / n): analyse() turned round, not its inverse.
  void synthesise(float* tile, int sign) const;

  /// One stage: blocks of n = radix * m features.
  struct Stage {
    int64_t radix = 1, n = 1, m = 1;
    std::vector<float> twiddles{};  ///< [m, radix - 1, 2]: e^(2 pi i j k / n)
    std::vector<float> roots{};     ///< [radix, 2]: e^(2 pi i k / radix)
  };

 private:
  struct Way {
    int64_t real;  ///< Where a feature's real parts begin.
    bool synthesis;
    float* scratch;  ///< kTile floats for each of a large radix.
  };
  void run(float* tile, int sign, bool synthesis) const;
  void run_from(size_t first, const Way& way, float* tile) const;

  int64_t n_;
  std::vector<Stage> stages_;
};

}  // namespace tunefleet::tuners::loops

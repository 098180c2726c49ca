#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "tuners/maps/sparse_pattern.h"
#include "tuners/maps/tile_fourier.h"

/// What a map on tiles (tiled_map.h) is made of.
namespace tunefleet::tuners {

/// A change of basis of a tile's features (tile_loops.h): a matrix T [coefficients, features].
class TileBasis {
 public:
  virtual ~TileBasis() = default;
  virtual int64_t features() const = 0;
  virtual int64_t coefficients() const = 0;
  /// Both take a tile and room for another of either size, and return the one with the result.
  virtual float* apply(float* tile, float* room) const = 0;       ///< Features to T of them.
  virtual float* transposed(float* tile, float* room) const = 0;  ///< Coefficients, by T^T.
};

/// The basis as it is.
std::unique_ptr<TileBasis> plain_basis(int64_t features);
/// The spectra of neighbouring blocks of b features, sums with e^(sign 2 pi i f j / b), as
/// TileFourier has them: tokens in pairs, coefficients in its order.
std::unique_ptr<TileBasis> fourier_basis(int64_t features, const loops::TileFourier& fourier,
                                         int sign);
/// A sparse matrix with these values.
std::unique_ptr<TileBasis> sparse_basis(std::shared_ptr<const SparsePattern> pattern,
                                        const at::Tensor& values);

/// What stands between the coefficients of x and of y: a matrix M that depends on values.
class TileCore {
 public:
  virtual ~TileCore() = default;
  /// The values as the products take them, float32 on the CPU.
  virtual at::Tensor prepared(const at::Tensor& values) const = 0;
  virtual void product(const float* prepared, const float* x, float* y) const = 0;
  virtual void transposed(const float* prepared, const float* g, float* x) const = 0;
  /// Numbers that sampled() adds up: for each pair of places of M that is used, g times x.
  virtual int64_t sums() const = 0;
  virtual void sampled(const float* g, const float* x, float* sums) const = 0;
  /// scale * the gradient of the values from float32 sums, which it may take over.
  virtual at::Tensor gradient(const at::Tensor& sums, double scale) const = 0;
};

std::unique_ptr<TileCore> sparse_core(std::shared_ptr<const SparsePattern> pattern);
/// Blocks of values [rows, cols, b] between spectra of fourier_basis with sign -1.
std::unique_ptr<TileCore> circulant_core(int64_t rows, int64_t cols, int64_t b);

}  // namespace tunefleet::tuners

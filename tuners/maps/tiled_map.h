#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "tuners/maps/linear_map.h"
#include "tuners/maps/tile_parts.h"

namespace tunefleet::tuners {

/// The parts of U = scale * T_out^T M T_in.
struct TiledMapParts {
  std::unique_ptr<TileBasis> in, out;
  std::unique_ptr<TileCore> core;
  double scale = 1.0;
  std::function<at::Tensor(const at::Tensor& values)> dense;  ///< See LinearMap.
};

/// A map that is applied to tiles of tokens on the CPU, each going from x to y while it is in the
/// cache; elsewhere its matrix is formed. Nothing but x is kept for the backward pass.
class TiledMap : public LinearMap {
 public:
  explicit TiledMap(TiledMapParts parts) : parts_(std::move(parts)) {}

  at::Tensor dense(const at::Tensor& values) const override { return parts_.dense(values); }
  void add_product(const at::Tensor& x, const at::Tensor& values, at::Tensor& y) const override;
  at::Tensor add_gradients(const at::Tensor& x, const at::Tensor& values, const at::Tensor& g,
                           at::Tensor* dx, bool wanted) const override;

 private:
  int64_t widest() const;

  TiledMapParts parts_;
};

}  // namespace tunefleet::tuners

#include "tuners/maps/tile_parts.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <utility>
#include <vector>

#include "tuners/maps/tile_circulant.h"
#include "tuners/maps/tile_loops.h"

namespace tunefleet::tuners {
namespace {

using loops::kTile;

at::Tensor plain(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

class PlainBasis : public TileBasis {
 public:
  explicit PlainBasis(int64_t features) : features_(features) {}
  int64_t features() const override { return features_; }
  int64_t coefficients() const override { return features_; }
  float* apply(float* tile, float*) const override { return tile; }
  float* transposed(float* tile, float*) const override { return tile; }

 private:
  int64_t features_;
};

class FourierBasis : public TileBasis {
 public:
  FourierBasis(int64_t features, const loops::TileFourier& fourier, int sign)
      : features_(features), fourier_(fourier), sign_(sign) {}
  int64_t features() const override { return features_; }
  int64_t coefficients() const override { return features_; }

  float* apply(float* tile, float*) const override {
    for (int64_t at = 0; at < features_; at += fourier_.size())
      fourier_.analyse(tile + at * kTile, sign_);
    return tile;
  }
  /// Between vectors of real numbers, which pairs of tokens are, the conjugate is turned round too.
  float* transposed(float* tile, float*) const override {
    for (int64_t at = 0; at < features_; at += fourier_.size())
      fourier_.synthesise(tile + at * kTile, -sign_);
    return tile;
  }

 private:
  int64_t features_;
  loops::TileFourier fourier_;
  int sign_;
};

class SparseBasis : public TileBasis {
 public:
  SparseBasis(std::shared_ptr<const SparsePattern> pattern, const at::Tensor& values)
      : pattern_(std::move(pattern)), values_(plain(values.to(at::kCPU))) {}
  int64_t features() const override { return pattern_->cols(); }
  int64_t coefficients() const override { return pattern_->rows(); }

  float* apply(float* tile, float* room) const override {
    loops::sparse_product(pattern_->by_row(), values_.const_data_ptr<float>(), tile, room);
    return room;
  }
  float* transposed(float* tile, float* room) const override {
    loops::sparse_product(pattern_->by_col(), values_.const_data_ptr<float>(), tile, room);
    return room;
  }

 private:
  std::shared_ptr<const SparsePattern> pattern_;
  at::Tensor values_;
};

class SparseCore : public TileCore {
 public:
  explicit SparseCore(std::shared_ptr<const SparsePattern> pattern)
      : pattern_(std::move(pattern)) {}
  at::Tensor prepared(const at::Tensor& values) const override { return plain(values); }
  void product(const float* prepared, const float* x, float* y) const override {
    loops::sparse_product(pattern_->by_row(), prepared, x, y);
  }
  void transposed(const float* prepared, const float* g, float* x) const override {
    loops::sparse_product(pattern_->by_col(), prepared, g, x);
  }
  int64_t sums() const override { return pattern_->values(); }
  void sampled(const float* g, const float* x, float* sums) const override {
    loops::sampled_product(pattern_->by_row(), g, x, sums);
  }
  at::Tensor gradient(const at::Tensor& sums, double scale) const override {
    return scale == 1.0 ? sums : sums.mul(scale);
  }

 private:
  std::shared_ptr<const SparsePattern> pattern_;
};

class CirculantCore : public TileCore {
 public:
  CirculantCore(int64_t rows, int64_t cols, int64_t b)
      : shape_{rows, cols, b}, circulant_(rows, cols, b) {}
  at::Tensor prepared(const at::Tensor& values) const override {
    const auto blocks = plain(values);
    auto spectrum = at::empty({circulant_.numbers()}, blocks.options());
    circulant_.spectrum(blocks.const_data_ptr<float>(), spectrum.mutable_data_ptr<float>());
    return spectrum;
  }
  void product(const float* prepared, const float* x, float* y) const override {
    circulant_.product(prepared, x, y);
  }
  void transposed(const float* prepared, const float* g, float* x) const override {
    circulant_.transposed(prepared, g, x);
  }
  int64_t sums() const override { return circulant_.numbers(); }
  void sampled(const float* g, const float* x, float* sums) const override {
    circulant_.sampled(g, x, sums);
  }
  at::Tensor gradient(const at::Tensor& sums, double scale) const override {
    auto blocks = at::zeros(shape_, sums.options());
    circulant_.add_gradient(sums.const_data_ptr<float>(), static_cast<float>(scale),
                            blocks.mutable_data_ptr<float>());
    return blocks;
  }

 private:
  std::vector<int64_t> shape_;
  loops::TileCirculant circulant_;
};

}  // namespace

std::unique_ptr<TileBasis> plain_basis(int64_t features) {
  return std::make_unique<PlainBasis>(features);
}

std::unique_ptr<TileBasis> fourier_basis(int64_t features, const loops::TileFourier& fourier,
                                         int sign) {
  return std::make_unique<FourierBasis>(features, fourier, sign);
}

std::unique_ptr<TileBasis> sparse_basis(std::shared_ptr<const SparsePattern> pattern,
                                        const at::Tensor& values) {
  return std::make_unique<SparseBasis>(std::move(pattern), values);
}

std::unique_ptr<TileCore> sparse_core(std::shared_ptr<const SparsePattern> pattern) {
  return std::make_unique<SparseCore>(std::move(pattern));
}

std::unique_ptr<TileCore> circulant_core(int64_t rows, int64_t cols, int64_t b) {
  return std::make_unique<CirculantCore>(rows, cols, b);
}

}  // namespace tunefleet::tuners

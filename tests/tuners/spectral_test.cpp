// Sparse products, and the tuners that train a few entries of a transform: forward and gradients
// against the dense update.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/tuners/tiny_model.h"
#include "tuners/c3a.h"
#include "tuners/config/wavelet_filters.h"
#include "tuners/fourierft.h"
#include "tuners/mapped_linear.h"
#include "tuners/spectrum_places.h"
#include "tuners/maps/tile_fourier.h"
#include "tuners/maps/tile_parts.h"
#include "tuners/waveft.h"

namespace tunefleet::tuners {
namespace {

void expect_close(const at::Tensor& seen, const at::Tensor& wanted, const std::string& what,
                  double tolerance = 2e-5) {
  ASSERT_EQ(seen.sizes(), wanted.sizes()) << what;
  const double scale = std::max(1e-3, wanted.abs().max().item<double>());
  EXPECT_LE((seen - wanted).abs().max().item<double>(), tolerance * scale) << what;
}

struct SparseCase {
  int64_t rows, cols;
  std::vector<int64_t> entry_rows, entry_cols;
};

/// Two entries share the last place.
SparseCase random_case(int64_t rows, int64_t cols, int64_t entries) {
  SparseCase made{.rows = rows, .cols = cols, .entry_rows = {}, .entry_cols = {}};
  for (int64_t i = 0; i < entries; ++i) {
    made.entry_rows.push_back(at::randint(rows, {}, at::kLong).item<int64_t>());
    made.entry_cols.push_back(at::randint(cols, {}, at::kLong).item<int64_t>());
  }
  made.entry_rows.push_back(made.entry_rows.back());
  made.entry_cols.push_back(made.entry_cols.back());
  return made;
}

class SparsePatternTest : public testing::TestWithParam<int64_t> {};

/// What a core does to tokens as they lie in memory.
struct OnTokens {
  const TileCore& core;
  int64_t rows, cols;
  at::Tensor prepared;

  at::Tensor tile(const at::Tensor& x, int64_t first) const {
    auto tile = at::empty({x.size(1), loops::kTile});
    const int64_t count = std::min(loops::kTile, x.size(0) - first);
    loops::to_tile(x.const_data_ptr<float>() + first * x.size(1), x.size(1), count,
                   tile.mutable_data_ptr<float>());
    return tile;
  }
  at::Tensor product(const at::Tensor& x, bool transposed) const {
    auto y = at::zeros({x.size(0), transposed ? cols : rows});
    for (int64_t first = 0; first < x.size(0); first += loops::kTile) {
      const auto in = tile(x, first), out = at::empty({y.size(1), loops::kTile});
      const auto* factors = prepared.const_data_ptr<float>();
      const auto* from = in.const_data_ptr<float>();
      auto* to = out.mutable_data_ptr<float>();
      transposed ? core.transposed(factors, from, to) : core.product(factors, from, to);
      loops::add_tile(to, y.size(1), std::min(loops::kTile, x.size(0) - first), 1.0F,
                      y.mutable_data_ptr<float>() + first * y.size(1));
    }
    return y;
  }
  at::Tensor sampled(const at::Tensor& g, const at::Tensor& x) const {
    auto sums = at::zeros({core.sums()});
    for (int64_t first = 0; first < x.size(0); first += loops::kTile) {
      core.sampled(tile(g, first).const_data_ptr<float>(), tile(x, first).const_data_ptr<float>(),
                   sums.mutable_data_ptr<float>());
    }
    return core.gradient(sums, 1.0);
  }
};

TEST_P(SparsePatternTest, ProductsAreThoseOfTheDenseMatrix) {
  at::manual_seed(1);
  const int64_t tokens = GetParam();
  for (const auto& [rows, cols, entry_rows, entry_cols] :
       {SparseCase{5, 19, {4, 0, 4, 2, 4, 4}, {1, 0, 18, 3, 18, 0}}, random_case(1, 1, 1),
        random_case(40, 24, 100), random_case(37, 8, 60)}) {
    SCOPED_TRACE(testing::Message() << rows << " x " << cols << ", " << tokens << " tokens");
    const auto pattern =
        std::make_shared<SparsePattern>(rows, cols, entry_rows, entry_cols, at::kCPU);
    const auto core = sparse_core(pattern);
    const auto values = at::randn({pattern->entries()});
    const auto row = at::tensor(entry_rows), col = at::tensor(entry_cols);
    const auto dense = at::zeros({rows, cols}).index_put({row, col}, values, /*accumulate=*/true);
    EXPECT_TRUE(at::allclose(pattern->dense(values), dense, 1e-6, 1e-6));
    const auto x = at::randn({tokens, cols}), g = at::randn({tokens, rows});
    const OnTokens on{*core, rows, cols, core->prepared(values)};
    EXPECT_TRUE(at::allclose(on.product(x, false), x.matmul(dense.t()), 1e-5, 1e-5));
    EXPECT_TRUE(at::allclose(on.product(g, true), g.matmul(dense), 1e-5, 1e-5));
    EXPECT_TRUE(at::allclose(pattern->transposed_product(g, values), g.matmul(dense), 1e-5, 1e-5));
    const auto sampled = g.t().matmul(x).index({row, col});
    EXPECT_TRUE(at::allclose(on.sampled(g, x), sampled, 1e-4, 1e-4));
  }
}

TEST_P(SparsePatternTest, EntriesMayShareAValue) {
  at::manual_seed(2);
  const SparsePattern pattern(3, 4, {0, 2, 1}, {1, 3, 1}, at::kCPU, {1, 0, 1});
  EXPECT_EQ(pattern.values(), 2);
  const auto wanted =
      at::tensor({0.0F, 5.0F, 0.0F, 0.0F, 0.0F, 5.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 7.0F});
  EXPECT_TRUE(at::equal(pattern.dense(at::tensor({7.0F, 5.0F})), wanted.view({3, 4})));
  const auto core = sparse_core(std::make_shared<SparsePattern>(pattern));
  const auto x = at::randn({GetParam(), 4}), g = at::randn({GetParam(), 3});
  const OnTokens on{*core, 3, 4, core->prepared(at::ones({2}))};
  const auto dw = g.t().matmul(x);
  EXPECT_TRUE(
      at::allclose(on.sampled(g, x), at::stack({dw[2][3], dw[0][1] + dw[1][1]}), 1e-4, 1e-4));
}
INSTANTIATE_TEST_SUITE_P(Tokens, SparsePatternTest, testing::Values(0, 1, 8, 31, 32, 33, 100));

TEST(SparsePatternErrors, APlaceOutsideIsRefused) {
  EXPECT_THROW(SparsePattern(2, 3, {0, 2}, {0, 0}, at::kCPU), std::invalid_argument);
  EXPECT_THROW(SparsePattern(2, 3, {0}, {-1}, at::kCPU), std::invalid_argument);
  EXPECT_THROW(SparsePattern(2, 3, {0}, {1}, at::kCPU, {0, 1}), std::invalid_argument);
}

class TileFourierTest : public testing::TestWithParam<int64_t> {};

TEST_P(TileFourierTest, IsTheTransformOfPairsOfTokens) {
  at::manual_seed(3);
  const int64_t n = GetParam(), pairs = loops::kTile / 2;
  const loops::TileFourier fourier(n);
  std::vector<int64_t> places;
  for (int64_t f = 0; f < n; ++f) places.push_back(fourier.place(f));
  const auto order = at::tensor(places, at::kLong);
  const auto complex = [&](const at::Tensor& tile) {
    return at::complex(tile.narrow(1, 0, pairs), tile.narrow(1, pairs, pairs))
        .to(at::kComplexDouble);
  };
  const auto x = at::randn({n, loops::kTile});
  for (const int sign : {1, -1}) {
    const auto wanted = [&](const at::Tensor& z) {
      return sign < 0 ? at::fft_fft(z, {}, 0) : at::fft_ifft(z, {}, 0, "forward");
    };
    const double tolerance = 1e-6 * std::sqrt(static_cast<double>(n)) * std::log2(n + 2.0);
    auto tile = x.clone();
    fourier.analyse(tile.mutable_data_ptr<float>(), sign);
    const auto spectrum = complex(tile).index_select(0, order) - wanted(complex(x));
    EXPECT_LE(spectrum.abs().max().item<double>(), tolerance) << "analyse " << sign;
    tile = x.clone();
    fourier.synthesise(tile.mutable_data_ptr<float>(), sign);
    const auto values = complex(tile) - wanted(complex(x).index_select(0, order));
    EXPECT_LE(values.abs().max().item<double>(), tolerance) << "synthesise " << sign;
  }
}
INSTANTIATE_TEST_SUITE_P(Sizes, TileFourierTest,
                         testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 22, 35, 49, 64, 192,
                                         576, 1536, 2311));

TEST(SpectrumPlacesTest, AreThoseOfTorch) {
  // torch.randperm(35, generator=torch.Generator().manual_seed(777))[:6] of torch 2.11.
  const auto places = spectrum_places(5, 7, 6, 777);
  const std::vector<int64_t> wanted{5, 32, 30, 9, 2, 22};
  for (size_t i = 0; i < wanted.size(); ++i)
    EXPECT_EQ(places.rows[i] * 7 + places.cols[i], wanted[i]);
  EXPECT_THROW(spectrum_places(5, 7, 36, 777), std::invalid_argument);
}

TEST(WaveletFiltersTest, AreOrthonormal) {
  for (const std::string_view name : wavelet_names()) {
    const auto filters = wavelet_filters(name);
    // The tables of the long coiflets are PEFT's, and are not quite orthonormal there.
    const double limit = name == "coif4" || name == "coif5" ? 0.05 : 2e-5;
    ASSERT_EQ(filters.low.size(), filters.high.size());
    ASSERT_EQ(filters.low.size() % 2, 0U) << name;
    for (size_t shift = 0; shift < filters.low.size(); shift += 2) {
      double low = 0, high = 0, cross = 0;
      for (size_t i = shift; i < filters.low.size(); ++i) {
        low += filters.low[i] * filters.low[i - shift];
        high += filters.high[i] * filters.high[i - shift];
        cross += filters.low[i] * filters.high[i - shift];
      }
      EXPECT_NEAR(low, shift == 0 ? 1 : 0, limit) << name;
      EXPECT_NEAR(high, shift == 0 ? 1 : 0, limit) << name;
      EXPECT_NEAR(cross, 0, limit) << name;
    }
  }
  EXPECT_THROW(wavelet_filters("db99"), std::invalid_argument);
}

/// A layer of any size.
std::unique_ptr<LinearSite> make_site(int64_t out, int64_t in) {
  auto site = std::make_unique<LinearSite>();
  site->path = "model.layers.0.q_proj";
  site->weight.base = at::randn({out, in});
  return site;
}

/// The tuner's forward and gradients against x (W + D)^T with its delta_weight D; the gradient of
/// its only tensor against differences of D, which is linear in it.
void expect_is_its_delta(const LinearLayerTuner& tuner, const LinearSite& site,
                         const std::string& what) {
  const auto parameter = tuner.tensors().front().tensor;
  {
    const at::NoGradGuard no_grad;
    parameter.normal_();
  }
  const auto x = at::randn({11, site.in_features()}).set_requires_grad(true);
  const auto next = [&](const at::Tensor& in) { return in.matmul(site.weight.base.t()); };
  const auto y = tuner.forward(x, next, {});
  const auto delta = tuner.delta_weight();
  const auto weight = site.weight.base + delta;
  expect_close(y, x.matmul(weight.t()), what + ": y");
  const auto g = at::randn_like(y);
  y.backward(g);
  expect_close(x.grad(), g.matmul(weight), what + ": dx");
  const auto dweight = g.t().matmul(x.detach());
  const at::NoGradGuard no_grad;
  const auto flat = parameter.view(-1), grad = parameter.grad().view(-1);
  for (int64_t i = 0; i < flat.numel(); i += 1 + flat.numel() / 13) {
    flat[i].add_(1.0);
    const auto moved = tuner.delta_weight() - delta;
    flat[i].sub_(1.0);
    const double wanted = (moved * dweight).sum().item<double>();
    EXPECT_NEAR(grad[i].item<double>(), wanted, 1e-3 * std::max(1.0, std::abs(wanted)))
        << what << " " << i;
  }
}

/// The map as a tuner, and applied to tiles as its matrix is, in float32 and in bfloat16.
void expect_is_its_dense(const LinearSite& site, const std::shared_ptr<const LinearMap>& map,
                         at::IntArrayRef shape, const std::string& what) {
  expect_is_its_delta(MappedLinear(site, "values", at::zeros(shape), map), site, what);
  const auto values = at::randn(shape);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto x = at::randn({70, site.in_features()}).to(dtype);
    const auto g = at::randn({70, site.out_features()}).to(dtype);
    auto y = at::ones_like(g), dense_y = y.clone(), dx = at::ones_like(x), dense_dx = dx.clone();
    map->add_product(x, values, y);
    map->LinearMap::add_product(x, values, dense_y);
    const auto grad = map->add_gradients(x, values, g, &dx, true);
    const auto dense_grad = map->LinearMap::add_gradients(x, values, g, &dense_dx, true);
    const double tolerance = dtype == at::kFloat ? 2e-5 : 1.0 / 128;
    expect_close(y.to(at::kFloat), dense_y.to(at::kFloat), what + ": tiles' y", tolerance);
    expect_close(dx.to(at::kFloat), dense_dx.to(at::kFloat), what + ": tiles' dx", tolerance);
    expect_close(grad, dense_grad, what + ": tiles' gradient");
    EXPECT_FALSE(map->add_gradients(x, values, g, nullptr, false).defined());
  }
}

struct SizeCase {
  int64_t out, in;
};
class SpectralTest : public testing::TestWithParam<SizeCase> {
 protected:
  SpectralTest() : site(make_site(GetParam().out, GetParam().in)) {}
  int64_t out() const { return GetParam().out; }
  int64_t in() const { return GetParam().in; }
  std::unique_ptr<LinearSite> site;
};

TEST_P(SpectralTest, FourierftIsItsDelta) {
  for (const int64_t count : {int64_t{1}, out() * in() / 2, out() * in()}) {
    const auto places = spectrum_places(out(), in(), count, 777);
    expect_is_its_dense(*site, fourier_map(out(), in(), places, 20.0, at::kCPU), {count},
                        c10::str("fourierft ", count));
  }
}

TEST_P(SpectralTest, WaveftIsItsDelta) {
  const int64_t count = out() * in() / 2;
  const auto places = spectrum_places(out(), in(), count, 777);
  for (const std::string wavelet : {"", "db1", "db2", "db5", "sym4", "coif2"}) {
    expect_is_its_dense(*site, wavelet_map(out(), in(), places, wavelet, 25.0, at::kCPU), {count},
                        "waveft " + wavelet);
  }
}

TEST_P(SpectralTest, C3aIsItsDelta) {
  for (const int64_t b : {1, 2, 3, 4, 12}) {
    if (out() % b != 0 || in() % b != 0) continue;
    expect_is_its_dense(*site, circulant_map(out(), in(), b), {out() / b, in() / b, b},
                        c10::str("c3a ", b));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SpectralTest,
                         testing::Values(SizeCase{8, 8}, SizeCase{6, 9}, SizeCase{7, 12},
                                         SizeCase{12, 5}, SizeCase{20, 24}, SizeCase{2, 3},
                                         SizeCase{72, 60}));

}  // namespace
}  // namespace tunefleet::tuners

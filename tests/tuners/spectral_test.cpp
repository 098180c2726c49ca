// Sparse products, and the tuners that train a few entries of a transform: forward and gradients
// against the dense update.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/tuners/tiny_model.h"
#include "tuners/c3a.h"
#include "tuners/config/wavelet_filters.h"
#include "tuners/fourierft.h"
#include "tuners/sparse_pattern.h"
#include "tuners/spectrum_places.h"
#include "tuners/waveft.h"

namespace tunefleet::tuners {
namespace {

void expect_close(const at::Tensor& seen, const at::Tensor& wanted, const std::string& what) {
  ASSERT_EQ(seen.sizes(), wanted.sizes()) << what;
  const double scale = std::max(1e-3, wanted.abs().max().item<double>());
  EXPECT_LE((seen - wanted).abs().max().item<double>(), 2e-5 * scale) << what;
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

TEST_P(SparsePatternTest, ProductsAreThoseOfTheDenseMatrix) {
  at::manual_seed(1);
  const int64_t tokens = GetParam();
  for (const auto& [rows, cols, entry_rows, entry_cols] :
       {SparseCase{5, 19, {4, 0, 4, 2, 4, 4}, {1, 0, 18, 3, 18, 0}}, random_case(1, 1, 1),
        random_case(40, 24, 100), random_case(37, 8, 60)}) {
    SCOPED_TRACE(testing::Message() << rows << " x " << cols << ", " << tokens << " tokens");
    const SparsePattern pattern(rows, cols, entry_rows, entry_cols, at::kCPU);
    const auto values = at::randn({pattern.entries()});
    const auto row = at::tensor(entry_rows), col = at::tensor(entry_cols);
    const auto dense = at::zeros({rows, cols}).index_put({row, col}, values, /*accumulate=*/true);
    EXPECT_TRUE(at::equal(pattern.dense(values), dense));
    const auto x = at::randn({tokens, cols}), g = at::randn({tokens, rows});
    EXPECT_TRUE(at::allclose(pattern.product(x, values), x.matmul(dense.t()), 1e-5, 1e-5));
    EXPECT_TRUE(at::allclose(pattern.transposed_product(g, values), g.matmul(dense), 1e-5, 1e-5));
    const auto sampled = g.t().matmul(x).index({row, col});
    EXPECT_TRUE(at::allclose(pattern.sampled_product(g, x), sampled, 1e-4, 1e-4));
  }
}
INSTANTIATE_TEST_SUITE_P(Tokens, SparsePatternTest, testing::Values(0, 1, 8, 31, 32, 33, 100));

TEST(SparsePatternErrors, APlaceOutsideIsRefused) {
  EXPECT_THROW(SparsePattern(2, 3, {0, 2}, {0, 0}, at::kCPU), std::invalid_argument);
  EXPECT_THROW(SparsePattern(2, 3, {0}, {-1}, at::kCPU), std::invalid_argument);
}

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
    const auto plan = std::make_shared<FourierftLinear::Plan>(
        out(), in(), spectrum_places(out(), in(), count, 777), at::kCPU);
    const FourierftLinear tuner(*site, "default", {.scaling = 20.0}, plan, 1);
    expect_is_its_delta(tuner, *site, c10::str("fourierft ", count));
  }
}

TEST_P(SpectralTest, WaveftIsItsDelta) {
  for (const std::string wavelet : {"", "db1", "db2", "db5", "sym4", "coif2"}) {
    const auto plan = std::make_shared<WaveftLinear::Plan>(
        out(), in(), spectrum_places(out(), in(), out() * in() / 2, 777), wavelet, at::kCPU);
    const WaveftLinear tuner(*site, "default", {.scaling = 25.0}, plan, 1);
    expect_is_its_delta(tuner, *site, "waveft " + wavelet);
  }
}

TEST_P(SpectralTest, C3aIsItsDelta) {
  for (const int64_t b : {1, 2, 3, 4}) {
    if (out() % b != 0 || in() % b != 0) continue;
    const C3aLinear tuner(*site, "default", {.block_size = b},
                          C3aLinear::frequency_pattern(out(), in(), b, at::kCPU), 1);
    expect_is_its_delta(tuner, *site, c10::str("c3a ", b));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SpectralTest,
                         testing::Values(SizeCase{8, 8}, SizeCase{6, 9}, SizeCase{7, 12},
                                         SizeCase{12, 5}, SizeCase{20, 24}, SizeCase{2, 3}));

}  // namespace
}  // namespace tunefleet::tuners

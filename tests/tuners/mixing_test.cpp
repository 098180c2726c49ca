// Mixed pairs of features and weights with factors: loops against the formulas written out.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tuners/maps/hadamard_map.h"
#include "tuners/maps/pair_mix.h"

namespace tunefleet::tuners {
namespace {

void expect_close(const at::Tensor& seen, const at::Tensor& wanted, const char* what) {
  ASSERT_EQ(seen.sizes(), wanted.sizes()) << what;
  const double scale = wanted.numel() == 0 ? 1.0 : std::max(1.0, wanted.abs().max().item<double>());
  EXPECT_TRUE(at::allclose(seen, wanted, 0.0, 2e-5 * scale)) << what;
}
at::Tensor leaf(at::IntArrayRef shape) { return at::randn(shape).set_requires_grad(true); }
at::Tensor twin(const at::Tensor& tensor) {
  return tensor.detach().clone().set_requires_grad(true);
}

struct PairCase {
  int64_t rows, groups, half;
};

class MixPairsTest : public testing::TestWithParam<PairCase> {};

TEST_P(MixPairsTest, IsTheFormulaAndSoAreItsGradients) {
  at::manual_seed(31);
  const auto [rows, groups, half] = GetParam();
  const int64_t width = groups * 2 * half;
  const auto z = leaf({rows, width}), along = leaf({width}), across = leaf({width});
  const auto z2 = twin(z), along2 = twin(along), across2 = twin(across);
  const auto y = mix_pairs(z, along, across, half);
  const auto wanted =
      z2 * along2 + z2.view({rows, groups, 2, half}).flip(2).view(z2.sizes()) * across2;
  expect_close(y, wanted, "y");
  const auto g = at::randn({rows, width});
  y.backward(g);
  wanted.backward(g);
  expect_close(z.grad(), z2.grad(), "dz");
  expect_close(along.grad(), along2.grad(), "dalong");
  expect_close(across.grad(), across2.grad(), "dacross");
}

TEST_P(MixPairsTest, ABfloat16InputIsMixedInFloat32AndRoundedOnce) {
  at::manual_seed(32);
  const auto [rows, groups, half] = GetParam();
  const int64_t width = groups * 2 * half;
  const auto narrow = at::randn({rows, width}).to(at::kBFloat16).set_requires_grad(true);
  const auto wide = narrow.detach().to(at::kFloat).set_requires_grad(true);
  const auto along = leaf({width}), across = leaf({width}), along2 = twin(along);
  const auto g = at::randn({rows, width}).to(at::kBFloat16);
  const auto y = mix_pairs(narrow, along, across, half);
  const auto wanted = mix_pairs(wide, along2, across, half);
  y.backward(g);
  wanted.backward(g.to(at::kFloat));
  EXPECT_TRUE(at::equal(y, wanted.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(narrow.grad(), wide.grad().to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(along.grad(), along2.grad()));
}

TEST_P(MixPairsTest, AFrozenInputGetsNoGradient) {
  const auto [rows, groups, half] = GetParam();
  const auto z = at::randn({rows, groups * 2 * half});
  const auto along = leaf({z.size(1)}), across = leaf({z.size(1)});
  mix_pairs(z, along, across, half).sum().backward();
  expect_close(along.grad(), z.sum(0), "dalong");
}

INSTANTIATE_TEST_SUITE_P(Shapes, MixPairsTest,
                         testing::Values(PairCase{0, 2, 4}, PairCase{1, 1, 1}, PairCase{7, 3, 5},
                                         PairCase{9, 2, 8}, PairCase{300, 4, 16},
                                         PairCase{65, 3, 37}));

struct FactorCase {
  int64_t out, in, r;
};

class HadamardMapTest : public testing::TestWithParam<FactorCase> {
 protected:
  HadamardMapTest() { at::manual_seed(33); }
};

TEST_P(HadamardMapTest, SumAndGradientsAreThoseOfTheFormula) {
  const auto [out, in, r] = GetParam();
  const auto base = at::randn({out, in}), weight = at::randn({out, in}), g = at::randn({out, in});
  const auto a = leaf({r, in}), b = leaf({out, r});
  const auto map = hadamard_map(base);
  const auto wanted = weight + base * b.matmul(a);
  expect_close(map->added_to(weight, {a, b}), wanted, "sum");
  wanted.backward(g);
  const int before = at::get_num_threads();
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    const auto grads = map->gradients(g, {a, b});
    expect_close(grads[0], a.grad(), "dA");
    expect_close(grads[1], b.grad(), "dB");
  }
  at::set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Shapes, HadamardMapTest,
                         testing::Values(FactorCase{1, 1, 1}, FactorCase{7, 5, 3},
                                         FactorCase{8, 16, 8}, FactorCase{40, 33, 4},
                                         FactorCase{100, 70, 5}, FactorCase{65, 96, 16}));

}  // namespace
}  // namespace tunefleet::tuners

// Rotations and reflections of a layer's input, against the formulas written out.
#include "tuners/rotation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tuners/boft.h"
#include "tuners/oft.h"
#include "tuners/reflection.h"

namespace tunefleet::tuners {
namespace {

constexpr double kTolerance = 2e-5;

void expect_close(const at::Tensor& seen, const at::Tensor& wanted, const char* what) {
  ASSERT_EQ(seen.sizes(), wanted.sizes()) << what;
  const double scale = std::max(1.0, wanted.abs().max().item<double>());
  EXPECT_LE((seen - wanted).abs().max().item<double>(), kTolerance * scale) << what;
}

at::Tensor leaf(at::IntArrayRef shape, double deviation = 1.0) {
  return at::randn(shape).mul_(deviation).set_requires_grad(true);
}
at::Tensor twin(const at::Tensor& tensor) {
  return tensor.detach().clone().set_requires_grad(true);
}
at::Tensor eye(int64_t n) { return at::eye(n); }

struct BlockCase {
  int64_t n, b;
};

class RotationTest : public testing::TestWithParam<BlockCase> {
 protected:
  RotationTest() { at::manual_seed(11); }
  int64_t n() const { return GetParam().n; }
  int64_t b() const { return GetParam().b; }
  at::Tensor entries(double deviation) const { return leaf({n(), b() * (b() - 1) / 2}, deviation); }
};

TEST_P(RotationTest, SkewMatricesAreTheirOwnNegativeTransposes) {
  const auto q = skew_symmetric(entries(1.0), b());
  ASSERT_EQ(q.sizes(), (std::vector<int64_t>{n(), b(), b()}));
  EXPECT_TRUE(at::equal(q.transpose(1, 2), q.neg()));
}

TEST_P(RotationTest, CayleyIsTheFormulaAndARotation) {
  const auto given = entries(0.3), same = twin(given);
  const auto d = cayley(skew_symmetric(given, b()));
  const auto q = skew_symmetric(same, b());
  const auto wanted = at::matmul(eye(b()) - q, at::inverse(eye(b()) + q)) - eye(b());
  expect_close(d, wanted, "R - I");
  const auto r = d + eye(b());
  expect_close(at::matmul(r, r.transpose(1, 2)), eye(b()).expand_as(r), "R R^T");
  const auto g = at::randn_like(d);
  if (b() == 1) return;  // nothing to differentiate
  d.backward(g);
  wanted.backward(g);
  expect_close(given.grad(), same.grad(), "gradient");
}

TEST_P(RotationTest, TheSeriesIsThePowersWithTheLastOneOnce) {
  for (const int64_t terms : {1, 2, 3, 4, 5, 6, 8}) {
    const auto given = entries(0.2), same = twin(given);
    const auto d = cayley_neumann(skew_symmetric(given, b()), terms);
    const auto q = skew_symmetric(same, b());
    // PEFT 0.21's loop: one, 2 Q, 2 Q^2, then 2 Q^3 … and the last power once.
    auto wanted = at::zeros_like(q) + q * 0.0;
    if (terms > 1) wanted = wanted + 2 * q;
    auto power = at::matmul(q, q);
    if (terms > 2) wanted = wanted + 2 * power;
    for (int64_t i = 3; i < terms - 1; ++i) {
      power = at::matmul(power, q);
      wanted = wanted + 2 * power;
    }
    if (terms > 2) wanted = wanted + at::matmul(power, q);
    expect_close(d, wanted, "R - I");
    if (b() == 1) continue;
    const auto g = at::randn_like(d);
    d.backward(g);
    wanted.backward(g);
    expect_close(given.grad(), same.grad(), "gradient");
  }
}

TEST_P(RotationTest, TheSeriesOfEntriesIsThatOfTheirMatrices) {
  for (const int64_t terms : {1, 2, 3, 5, 8}) {
    const auto given = entries(0.2), same = twin(given);
    const auto d = skew_cayley_neumann(given, b(), terms);
    const auto wanted = cayley_neumann(skew_symmetric(same, b()), terms);
    expect_close(d, wanted, "R - I");
    if (b() == 1) continue;
    const auto g = at::randn_like(d);
    d.backward(g);
    wanted.backward(g);
    expect_close(given.grad(), same.grad(), "gradient");
  }
}

TEST_P(RotationTest, TheSeriesIsTheInverseOfTheExactMap) {
  // The series is for Q of a small norm, which grows with the block.
  const auto q = skew_symmetric(entries(b() > 128 ? 0.1 / std::sqrt(double(b())) : 0.02), b());
  const auto series = cayley_neumann(q, 8) + eye(b()), exact = cayley(q) + eye(b());
  expect_close(at::matmul(series, exact), eye(b()).expand_as(exact), "R R^-1");
}

TEST_P(RotationTest, RotatesEveryBlockOfEveryRow) {
  for (const int64_t rows : {0, 1, 7, 150}) {
    for (const bool shared : {false, true}) {
      const auto x = leaf({rows, n() * b()}), d = leaf({shared ? 1 : n(), b(), b()}, 0.3);
      const auto x2 = twin(x), d2 = twin(d);
      const auto y = rotate_blocks(x, d);
      const auto wanted = at::einsum("tnk,nkc->tnc", {x2.view({rows, n(), b()}),
                                                      (d2 + eye(b())).expand({n(), b(), b()})})
                              .reshape({rows, n() * b()});
      if (rows == 0) {
        EXPECT_EQ(y.sizes(), wanted.sizes());
        continue;
      }
      expect_close(y, wanted, "x R");
      const auto g = at::randn_like(wanted);
      y.backward(g);
      wanted.backward(g);
      expect_close(x.grad(), x2.grad(), "dx");
      expect_close(d.grad(), d2.grad(), "dR");
    }
  }
}

TEST_P(RotationTest, ABfloat16InputKeepsSmallAngles) {
  const auto x = at::randn({5, n() * b()}).to(at::kBFloat16);
  const auto y = rotate_blocks(x, at::zeros({n(), b(), b()}));
  EXPECT_TRUE(at::equal(x, y));
}

TEST_P(RotationTest, ABfloat16InputIsRotatedInFloat32AndRoundedOnce) {
  if (b() > 128) return;  // goes through torch's products in bfloat16
  const auto x = leaf({70, n() * b()}), d = leaf({n(), b(), b()}, 0.3);
  const auto narrow = x.detach().to(at::kBFloat16).set_requires_grad(true);
  const auto wide = narrow.detach().to(at::kFloat).set_requires_grad(true);
  const auto d2 = twin(d), g = at::randn_like(x).to(at::kBFloat16);
  const auto y = rotate_blocks(narrow, d), wanted = rotate_blocks(wide, d2);
  y.backward(g);
  wanted.backward(g.to(at::kFloat));
  EXPECT_TRUE(at::equal(y, wanted.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(narrow.grad(), wide.grad().to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(d.grad(), d2.grad()));
}

TEST_P(RotationTest, TheResultDoesNotDependOnTheThreads) {
  const auto x = at::randn({150, n() * b()});
  const auto d = at::randn({n(), b(), b()}), g = at::randn_like(x);
  const auto run = [&](int threads) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    const auto in = twin(x), turn = twin(d);
    const auto y = rotate_blocks(in, turn);
    y.backward(g);
    at::set_num_threads(before);
    return std::vector<at::Tensor>{y.detach(), in.grad(), turn.grad()};
  };
  const auto one = run(1), many = run(8);
  for (size_t i = 0; i < one.size(); ++i) expect_close(many[i], one[i], "8 threads");
}

INSTANTIATE_TEST_SUITE_P(Shapes, RotationTest,
                         testing::Values(BlockCase{3, 4}, BlockCase{1, 7}, BlockCase{5, 2},
                                         BlockCase{4, 1}, BlockCase{2, 32}, BlockCase{6, 8},
                                         BlockCase{3, 16}, BlockCase{1, 40}, BlockCase{19, 4},
                                         BlockCase{1, 130}));

TEST(RestingBlocksTest, ShareOfThemRestsAndTheStepDecidesWhich) {
  ForwardContext context{.training = true, .seed = 3, .step = 1};
  const auto first = resting_blocks(10, 0.35, 9, context, at::kCPU);
  EXPECT_EQ(first.sum().item<float>(), 7.0F);
  EXPECT_TRUE(at::equal(first, resting_blocks(10, 0.35, 9, context, at::kCPU)));
  bool moved = false;
  for (context.step = 2; context.step < 12; ++context.step)
    moved |= !at::equal(first, resting_blocks(10, 0.35, 9, context, at::kCPU));
  EXPECT_TRUE(moved);
  context.training = false;
  EXPECT_FALSE(resting_blocks(10, 0.35, 9, context, at::kCPU).defined());
}

/// PEFT's Linear.get_delta_weight: H, from the reflections one after the other.
at::Tensor chain(const at::Tensor& u, bool orthogonal) {
  const int64_t in = u.size(0), r = u.size(1);
  if (!orthogonal) {
    const auto unit = u / u.norm(2, 0);
    auto h = eye(in) + 0.0 * u.sum();
    for (int64_t i = 0; i < r; ++i) {
      const auto v = unit.narrow(1, i, 1);
      h = h - 2 * at::matmul(at::matmul(h, v), v.t());
    }
    return h;
  }
  std::vector<at::Tensor> basis;
  for (int64_t i = 0; i < r; ++i) {
    auto v = u.narrow(1, i, 1);
    for (const auto& other : basis) v = v - at::matmul(other.t(), v) * other;
    basis.push_back(v / v.norm());
  }
  const auto w = at::cat(basis, 1);
  return eye(in) - 2 * at::matmul(w, w.t());
}

class ReflectionTest : public testing::TestWithParam<std::tuple<int64_t, bool>> {};

TEST_P(ReflectionTest, IsTheChainOfReflections) {
  at::manual_seed(12);
  const auto [r, orthogonal] = GetParam();
  const auto x = leaf({9, 13}), u = leaf({13, r});
  const auto x2 = twin(x), u2 = twin(u);
  const auto y = reflect(x, {.u = u, .orthogonal = orthogonal});
  const auto h = chain(u2, orthogonal);
  const auto wanted = at::matmul(x2, h.t());
  expect_close(y, wanted, "x H^T");
  const auto g = at::randn_like(y);
  y.backward(g);
  wanted.backward(g);
  expect_close(x.grad(), x2.grad(), "dx");
  expect_close(u.grad(), u2.grad(), "du");
  const auto weight = at::randn({4, 13});
  expect_close(reflect_weight(weight, {.u = u, .orthogonal = orthogonal}), at::matmul(weight, h),
               "W H");
}

TEST_P(ReflectionTest, KeepsLengths) {
  at::manual_seed(13);
  const auto [r, orthogonal] = GetParam();
  const auto x = at::randn({9, 13});
  const auto y = reflect(x, {.u = at::randn({13, r}), .orthogonal = orthogonal});
  expect_close(y.norm(2, 1), x.norm(2, 1), "lengths");
}

INSTANTIATE_TEST_SUITE_P(Ranks, ReflectionTest,
                         testing::Combine(testing::Values(1, 2, 5), testing::Bool()));

TEST(ReflectionTest, EqualNeighboursCancel) {
  const auto u = at::randn({13, 2}).repeat_interleave(2, 1);
  const auto x = at::randn({5, 13});
  expect_close(reflect(x, {.u = u}), x, "x");
}

TEST(ButterflyTest, OrdersAreThoseOfPeft) {
  // block_butterfly_perm(32, 8 / 2^i, 2) of PEFT 0.21.2, tuners/boft/layer.py.
  const std::vector<std::vector<int64_t>> wanted{
      {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
       16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
      {0,  1,  4,  5,  2,  3,  6,  7,  8,  9,  12, 13, 10, 11, 14, 15,
       16, 17, 20, 21, 18, 19, 22, 23, 24, 25, 28, 29, 26, 27, 30, 31},
      {0,  1,  4,  5,  8,  9,  12, 13, 2,  3,  6,  7,  10, 11, 14, 15,
       16, 17, 20, 21, 24, 25, 28, 29, 18, 19, 22, 23, 26, 27, 30, 31}};
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_EQ(butterfly_order({.size = 4, .count = 8}, i), wanted[static_cast<size_t>(i)]);
}

}  // namespace
}  // namespace tunefleet::tuners

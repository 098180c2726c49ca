#include "worker/kernels/gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "worker/kernels/cpu_pointers.h"
#include "worker/kernels/gemm_loops.h"

namespace tunefleet::kernels {
namespace {

struct Shape {
  int64_t tokens, out, in;
};

/// Whole and broken tiles, panels, depths and blocks of either number of lanes; several threads.
constexpr Shape kShapes[] = {{1, 1, 1},     {2, 3, 5},      {16, 48, 32},    {17, 49, 33},
                             {31, 12, 257}, {255, 7, 256},  {257, 100, 1},   {300, 192, 576},
                             {5, 1600, 64}, {64, 576, 576}, {1700, 70, 130}, {13, 4000, 24}};

at::Tensor drawn(int64_t rows, int64_t columns) {
  return at::randn({rows, columns}).to(at::kBFloat16);
}

/// Every number is the float64 product rounded once, but for the float32 sum's own error.
void expect_rounded_once(const at::Tensor& seen, const at::Tensor& a, const at::Tensor& b,
                         const at::Tensor& bias = {}) {
  auto wanted = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  if (bias.defined()) wanted = wanted.add(bias.to(at::kDouble));
  const auto sizes = at::mm(a.to(at::kDouble).abs(), b.to(at::kDouble).abs());
  const auto allowed = wanted.abs().mul(std::exp2(-8)).add(sizes.mul(1e-6));
  EXPECT_TRUE(seen.to(at::kDouble).sub(wanted).abs().le(allowed).all().item<bool>());
}

at::Tensor empty(int64_t rows, int64_t columns) {
  return at::full({rows, columns}, std::numeric_limits<float>::quiet_NaN(), at::kBFloat16);
}

TEST(GemmLoopsTest, EveryShapeEqualsTheProductRoundedOnce) {
  at::manual_seed(3);
  for (const auto& [tokens, out, in] : kShapes) {
    SCOPED_TRACE(testing::Message() << tokens << " x " << out << " x " << in);
    const auto x = drawn(tokens, in), w = drawn(out, in), dy = drawn(tokens, out);
    const auto bias = at::randn({out});
    auto y = empty(tokens, out), dx = empty(tokens, in), dw = empty(out, in);
    cpu::gemm_nt(bf16(x), bf16(w), nullptr, bf16(y), tokens, out, in);
    expect_rounded_once(y, x, w.t());
    cpu::gemm_nt(bf16(x), bf16(w), f32(bias), bf16(y), tokens, out, in);
    expect_rounded_once(y, x, w.t(), bias);
    cpu::gemm_nn(bf16(dy), bf16(w), bf16(dx), tokens, out, in);
    expect_rounded_once(dx, dy, w);
    cpu::gemm_tn(bf16(dy), bf16(x), bf16(dw), tokens, out, in);
    expect_rounded_once(dw, dy.t(), x);
  }
}

TEST(GemmLoopsTest, ThreadsDoNotChangeABit) {
  at::manual_seed(4);
  const auto x = drawn(300, 576), w = drawn(1600, 576), dy = drawn(300, 1600);
  const auto all = [&](int threads) {
    at::set_num_threads(threads);
    auto y = empty(300, 1600), dx = empty(300, 576), dw = empty(1600, 576);
    cpu::gemm_nt(bf16(x), bf16(w), nullptr, bf16(y), 300, 1600, 576);
    cpu::gemm_nn(bf16(dy), bf16(w), bf16(dx), 300, 1600, 576);
    cpu::gemm_tn(bf16(dy), bf16(x), bf16(dw), 300, 1600, 576);
    return at::cat({y.flatten(), dx.flatten(), dw.flatten()});
  };
  const int before = at::get_num_threads();
  const auto one = all(1);
  EXPECT_TRUE(at::equal(one, all(2)));
  EXPECT_TRUE(at::equal(one, all(5)));
  at::set_num_threads(before);
}

TEST(GemmLoopsTest, WhatIsNoNumberStaysInItsRow) {
  const auto x = at::ones({20, 40}, at::kBFloat16), w = at::ones({30, 40}, at::kBFloat16);
  x[7][3] = std::numeric_limits<float>::infinity();
  x[7][4] = -std::numeric_limits<float>::infinity();
  auto y = empty(20, 30);
  cpu::gemm_nt(bf16(x), bf16(w), nullptr, bf16(y), 20, 30, 40);
  EXPECT_TRUE(y[7].isnan().all().item<bool>());
  EXPECT_EQ(y.isnan().sum().item<int64_t>(), 30);
}

TEST(GemmTest, ViewsAndFewRowsAreProductsToo) {
  at::manual_seed(5);
  for (const int64_t tokens : {1, 15, 16, 40}) {
    const auto wide = drawn(2 * tokens, 2 * 24);
    const auto x = wide.narrow(1, 24, 24).slice(0, 0, 2 * tokens, 2);
    const auto w = drawn(24, 50).t();
    const auto bias = at::randn({50}).to(at::kBFloat16);
    expect_rounded_once(matmul_nt(x, w), x, w.t());
    expect_rounded_once(matmul_nt(x, w, bias), x, w.t(), bias);
    const auto dy = drawn(tokens, 50);
    expect_rounded_once(matmul_nn(dy, w), dy, w);
    expect_rounded_once(matmul_tn(dy, x), dy.t(), x);
  }
}

}  // namespace
}  // namespace tunefleet::kernels

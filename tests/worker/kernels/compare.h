#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <string>

/// What the kernel tests share: a shape and dtype to run over, and how close results must be.
namespace tunefleet::kernels {

struct KernelCase {
  int64_t rows;
  int64_t width;
  at::ScalarType dtype;
  double tolerance() const { return dtype == at::kFloat ? 2e-5 : 2e-2; }
};

inline std::string case_name(const testing::TestParamInfo<KernelCase>& info) {
  return std::to_string(info.param.rows) + "x" + std::to_string(info.param.width) +
         (info.param.dtype == at::kFloat ? "_float32" : "_bfloat16");
}

/// Sizes 0 and 1, odd ones, and ones that take several threads.
inline auto kernel_cases() {
  return testing::Values(KernelCase{0, 8, at::kFloat}, KernelCase{1, 1, at::kFloat},
                         KernelCase{3, 5, at::kFloat}, KernelCase{7, 64, at::kBFloat16},
                         KernelCase{130, 576, at::kFloat}, KernelCase{130, 576, at::kBFloat16});
}

inline at::Tensor draw(at::IntArrayRef shape, at::ScalarType dtype, double scale = 1.0) {
  return (at::randn(shape) * scale).to(dtype).requires_grad_(true);
}

/// Largest difference relative to the largest wanted value.
inline void expect_close(const at::Tensor& seen, const at::Tensor& wanted, double tolerance,
                         const char* what) {
  ASSERT_TRUE(seen.defined()) << what;
  ASSERT_EQ(seen.sizes(), wanted.sizes()) << what;
  if (seen.numel() == 0) return;
  const double scale = std::max(1.0, wanted.abs().max().item<double>());
  EXPECT_LE((seen.to(at::kFloat) - wanted.to(at::kFloat)).abs().max().item<double>() / scale,
            tolerance)
      << what;
}

/// A float32 copy that collects its own gradient: what the plain formula runs on.
inline at::Tensor wide(const at::Tensor& t) {
  return t.detach().to(at::kFloat).requires_grad_(true);
}

}  // namespace tunefleet::kernels

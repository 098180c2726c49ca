#include "worker/kernels/flat_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tunefleet::kernels {
namespace {

TEST(FlatNormTest, OfMoreThanOnePieceInEitherDtype) {
  at::manual_seed(1);
  const auto values = at::randn({(int64_t{1} << 22) + 12'345});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto flat = values.to(dtype);
    const auto wanted = flat.to(at::kDouble).norm().item<double>();
    EXPECT_NEAR(flat_norm(flat) / wanted, 1.0, 5e-6) << dtype;
  }
  EXPECT_EQ(flat_norm(at::zeros({0})), 0.0);
}

}  // namespace
}  // namespace tunefleet::kernels

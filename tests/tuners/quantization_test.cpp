#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/tuners/ms_swift_case.h"
#include "tuners/quantization/int8_weight.h"

namespace tunefleet::tuners {
namespace {

TEST(GroupQuantization, IsQGalores) {
  const MsSwiftCase golden("q_galore");
  const int64_t group = golden.facts["weight_group_size"];
  for (const int64_t bits : {8, 4}) {
    const std::string at = "." + std::to_string(bits);
    const auto& weight = golden["weight" + at];
    const auto nearest = quantize_groups(weight, bits, group);
    EXPECT_TRUE(at::allclose(nearest.scales, golden["scale" + at].view(-1), 1e-6, 0));
    EXPECT_TRUE(at::equal(nearest.zeros.to(at::kFloat), golden["zero" + at].view(-1)));
    const auto value = dequantize(nearest, at::kFloat);
    EXPECT_TRUE(at::allclose(value, golden["dequantised" + at], 1e-6, 1e-7));
    const auto scale = nearest.scales.repeat_interleave(group).view(weight.sizes());
    const auto zero = nearest.zeros.to(at::kFloat).repeat_interleave(group).view(weight.sizes());
    const auto codes = [&](const QuantizedGroups& of) {
      return (dequantize(of, at::kFloat) / scale + zero).round().to(at::kByte);
    };
    EXPECT_TRUE(at::equal(codes(nearest), golden["quantised" + at]));
    const auto drawn =
        quantize_groups(weight, bits, group, golden["random" + at].view(weight.sizes()));
    EXPECT_TRUE(at::equal(codes(drawn), golden["stochastic" + at]));
  }
}

class GroupSizes : public testing::TestWithParam<std::tuple<int64_t, int64_t, at::ScalarType>> {};

TEST_P(GroupSizes, ErrorsAreWithinACode) {
  const auto [bits, group, dtype] = GetParam();
  at::manual_seed(bits);
  for (const auto& shape : {std::vector<int64_t>{1}, {7}, {5, 13}, {16, 32}, {0, 4}}) {
    const auto value = at::randn(shape).to(dtype);
    const auto groups = quantize_groups(value, bits, group);
    const auto back = dequantize(groups, at::kFloat);
    ASSERT_EQ(back.sizes(), value.sizes());
    if (value.numel() == 0) continue;
    const double range = (value.max() - value.min()).to(at::kFloat).item<double>() + 1e-5;
    EXPECT_EQ(groups.scales.numel(), (value.numel() + group - 1) / group);
    // A code's width where the group holds 0: half from rounding the number, half from the zero.
    const bool holds_zero = value.min().item<double>() < 0 && value.max().item<double>() > 0;
    if (group >= value.numel() && holds_zero) {
      EXPECT_LE((back - value.to(at::kFloat)).abs().max().item<double>(),
                1.01 * range / static_cast<double>((1 << bits) - 1));
    }
    EXPECT_EQ(groups.codes.numel(), bits <= 4 ? (value.numel() + 1) / 2 : value.numel());
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, GroupSizes,
                         testing::Combine(testing::Values(1, 2, 4, 5, 8),
                                          testing::Values(1, 3, 256),
                                          testing::Values(at::kFloat, at::kBFloat16)));

TEST(GroupQuantization, BitsThatDoNotFitAByteAreRefused) {
  EXPECT_THROW(quantize_groups(at::ones({4}), 9, 2), std::invalid_argument);
  EXPECT_THROW(quantize_groups(at::ones({4}), 8, 0), std::invalid_argument);
}

TEST(Int8Weight, TakesAQuarterOfFloat32AndHalfOfBfloat16) {
  const auto value = at::randn({64, 512});
  const Int8Weight weight(value);
  EXPECT_LT(weight.bytes(), static_cast<int64_t>(value.nbytes()) / 4 * 103 / 100);
  EXPECT_EQ(weight.stand_in().storage().nbytes(), 4U);
  EXPECT_EQ(weight.stand_in().sizes(), value.sizes());
  EXPECT_TRUE(weight.stand_in().is_leaf() && weight.stand_in().requires_grad());
  EXPECT_EQ(Int8Weight(value.to(at::kBFloat16)).read().scalar_type(), at::kBFloat16);
}

TEST(Int8Weight, RoundsWithoutBiasAndFromItsKeyAlone) {
  at::manual_seed(3);
  // Groups from -1.27 to 1.28: a code is 0.01 wide, and no number falls off the end.
  const double code = 0.01;
  auto value = (0.4 * at::randn({4, 256})).clamp(-1.2, 1.2);
  value.select(1, 0).fill_(-1.27);
  value.select(1, 1).fill_(1.28);
  Int8Weight weight(value);
  auto sum = at::zeros({4, 256});
  for (uint64_t key = 0; key < 400; ++key) {
    weight.write(value, key);
    sum += weight.read();
  }
  EXPECT_LT((sum / 400 - value).abs().max().item<double>(), 5 * 0.5 * code / std::sqrt(400.0));
  Int8Weight other(at::zeros({4, 256}));
  weight.write(value, 77);
  other.write(value, 77);
  EXPECT_TRUE(at::equal(weight.read(), other.read()));
  other.write(value, 78);
  EXPECT_FALSE(at::equal(weight.read(), other.read()));
}

}  // namespace
}  // namespace tunefleet::tuners

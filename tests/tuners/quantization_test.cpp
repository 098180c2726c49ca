#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/tuners/ms_swift_case.h"
#include "tuners/quantization/int8_weight.h"
#include "tuners/random.h"

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

/// The formula in torch's operations: codes, [n] as float.
at::Tensor plain_codes(const at::Tensor& flat, int64_t bits, int64_t group,
                       const at::Tensor& draws) {
  std::vector<at::Tensor> parts;
  const double top = static_cast<double>((1 << bits) - 1);
  for (int64_t from = 0; from < flat.numel(); from += group) {
    const auto x = flat.narrow(0, from, std::min(group, flat.numel() - from));
    const auto scale = (x.max() - x.min()).clamp_min(1e-5) / top;
    const auto zero = (x.min() / scale).round().neg().clamp(0, top);
    const auto exact = x / scale;
    const auto cut = exact - exact.floor();
    const auto codes =
        draws.defined() ? exact.floor() + draws.narrow(0, from, x.numel()).lt(cut) : exact.round();
    parts.push_back((codes + zero).clamp(0, top));
  }
  return at::cat(parts);
}

/// Number i has 24 bits of the hash of (key, i / 2).
at::Tensor plain_draws(int64_t count, uint64_t key) {
  auto draws = at::empty({count}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = mix(key, static_cast<uint64_t>(i / 2));
    draws[i] = static_cast<double>(i % 2 == 0 ? bits >> 40 : (bits >> 16) & 0xFFFFFF) * 0x1.0p-24;
  }
  return draws;
}

TEST(GroupQuantization, CodesAreTheFormulas) {
  for (const int64_t count : {1, 15, 1000, 70'000}) {
    at::manual_seed(count);
    for (const auto& value : {at::randn({count}), at::rand({count}) + 7.0, at::zeros({count}),
                              at::full({count}, -1e6), at::randn({count}) * 1e-7}) {
      const auto draws = at::rand({count});
      for (const int64_t group : {256, 33}) {
        const auto nearest = quantize_groups(value, 8, group);
        EXPECT_TRUE(at::equal(nearest.codes.to(at::kFloat), plain_codes(value, 8, group, {})));
        const auto drawn = quantize_groups(value, 8, group, draws);
        EXPECT_TRUE(at::equal(drawn.codes.to(at::kFloat), plain_codes(value, 8, group, draws)));
        const auto scale = nearest.scales.repeat_interleave(group).narrow(0, 0, count);
        const auto zero = nearest.zeros.to(at::kFloat).repeat_interleave(group).narrow(0, 0, count);
        EXPECT_TRUE(at::equal(dequantize(nearest, at::kFloat),
                              (nearest.codes.to(at::kFloat) - zero) * scale));
      }
    }
  }
}

TEST(GroupQuantization, DrawsAreOfAKeyAndAPlaceAlone) {
  const int threads = at::get_num_threads();
  for (const int64_t group : {256, 33}) {
    at::manual_seed(group);
    const auto value = at::randn({40'001});
    const auto wanted = quantize_groups(value, 8, group, plain_draws(value.numel(), 99));
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      auto groups = quantize_groups(at::zeros_like(value), 8, group);
      requantize(value, 99, groups);
      EXPECT_TRUE(at::equal(groups.codes, wanted.codes)) << group << " with " << count;
      EXPECT_TRUE(at::equal(groups.scales, wanted.scales) && at::equal(groups.zeros, wanted.zeros));
    }
  }
  at::set_num_threads(threads);
  auto other = quantize_groups(at::zeros({8}), 8, 8);
  EXPECT_THROW(requantize(at::zeros({9}), 1, other), c10::Error);
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

#include "tuners/quantization/group_quantization.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>

namespace tunefleet::tuners {
namespace {

constexpr double kLeastRange = 1e-5;  ///< Of a group of equal numbers: keeps scales from zero.

/// [n] as [groups, group], the last number repeated to the end.
at::Tensor in_groups(const at::Tensor& flat, int64_t group) {
  const int64_t missing = (group - flat.numel() % group) % group;
  if (missing == 0) return flat.view({-1, group});
  return at::cat({flat, flat.narrow(0, flat.numel() - 1, 1).expand({missing})}).view({-1, group});
}

/// Two 4-bit codes in a byte, the first in the lower half.
at::Tensor packed(const at::Tensor& codes) {
  auto even = codes;
  if (codes.numel() % 2 != 0) even = at::cat({codes, at::zeros({1}, codes.options())});
  const auto pairs = even.view({-1, 2});
  return pairs.select(1, 0).bitwise_or(pairs.select(1, 1).bitwise_left_shift(4));
}

at::Tensor unpacked(const at::Tensor& bytes, int64_t count) {
  return at::stack({bytes.bitwise_and(15), bytes.bitwise_right_shift(4)}, 1)
      .view(-1)
      .narrow(0, 0, count);
}

}  // namespace

int64_t QuantizedGroups::bytes() const {
  return static_cast<int64_t>(codes.nbytes() + scales.nbytes() + zeros.nbytes());
}

QuantizedGroups quantize_groups(const at::Tensor& value, int64_t bits, int64_t group,
                                const at::Tensor& draws) {
  if (bits < 1 || bits > 8 || group < 1) {
    throw std::invalid_argument(c10::str(
        "quantisation takes 1 to 8 bits in groups of at least 1: ", bits, " bits, ", group));
  }
  const at::NoGradGuard no_grad;
  QuantizedGroups out;
  out.shape = value.sizes().vec();
  out.group = group;
  out.bits = bits;
  if (value.numel() == 0) return out;
  const auto rows = in_groups(value.to(at::kFloat).reshape(-1), group);
  const double top = static_cast<double>((int64_t{1} << bits) - 1);
  const auto low = rows.amin(1, /*keepdim=*/true);
  const auto scale = (rows.amax(1, /*keepdim=*/true) - low).clamp_min(kLeastRange).div_(top);
  const auto zero = low.div(scale).round_().neg_().clamp_(0.0, top);
  auto codes = rows.div(scale);
  if (draws.defined()) {
    const auto down = codes.floor();
    codes = down.add(in_groups(draws.reshape(-1), group).lt(codes - down));
  } else {
    codes.round_();
  }
  codes = codes.add_(zero).clamp_(0.0, top).to(at::kByte).view(-1).narrow(0, 0, value.numel());
  out.codes = bits <= 4 ? packed(codes.contiguous()) : codes.contiguous();
  out.scales = scale.view(-1).contiguous();
  out.zeros = zero.view(-1).to(at::kByte);
  return out;
}

at::Tensor dequantize(const QuantizedGroups& groups, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  int64_t count = 1;
  for (const int64_t size : groups.shape) count *= size;
  if (count == 0) return at::zeros(groups.shape, at::TensorOptions().dtype(dtype));
  const auto codes = groups.bits <= 4 ? unpacked(groups.codes, count) : groups.codes;
  const auto value = in_groups(codes, groups.group)
                         .to(at::kFloat)
                         .sub_(groups.zeros.to(at::kFloat).unsqueeze(1))
                         .mul_(groups.scales.unsqueeze(1));
  return value.view(-1).narrow(0, 0, count).view(groups.shape).to(dtype);
}

}  // namespace tunefleet::tuners

#include "tuners/quantization/group_quantization.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <stdexcept>

#include "tuners/parallel.h"
#include "tuners/quantization/group_loops.h"

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

float top_code(int64_t bits) { return static_cast<float>((int64_t{1} << bits) - 1); }

/// Calls `visit`(group's number, its first number's place, how many numbers it has) for all groups
/// of `count` numbers, on all threads.
template <typename Visit>
void for_each_group(int64_t count, int64_t group, const Visit& visit) {
  constexpr int64_t kNumbers = int64_t{1} << 14;  ///< Of a thread at least.
  const int64_t groups = (count + group - 1) / group;
  at::parallel_for(0, groups, std::max<int64_t>(1, kNumbers / group), [&](int64_t g, int64_t end) {
    for (; g < end; ++g) visit(g, g * group, std::min(group, count - g * group));
  });
}

/// Codes of a byte each, on the CPU. `draws`, when not null, calls back for a group's draws:
/// (its first number's place, how many, a buffer for one more on either side) -> the first draw.
template <typename Draws>
void quantize_on_cpu(const at::Tensor& value, QuantizedGroups& out, bool drawn,
                     const Draws& draws) {
  const auto flat = value.to(at::kFloat).contiguous();
  const auto* x = flat.const_data_ptr<float>();
  auto* codes = out.codes.mutable_data_ptr<uint8_t>();
  auto* scales = out.scales.mutable_data_ptr<float>();
  auto* zeros = out.zeros.mutable_data_ptr<uint8_t>();
  const float top = top_code(out.bits);
  for_each_group(flat.numel(), out.group, [&](int64_t g, int64_t from, int64_t count) {
    if (!drawn)
      return loops::quantize_nearest(x + from, count, top, codes + from, scales + g, zeros + g);
    thread_local std::vector<float> buffer;
    buffer.resize(static_cast<size_t>(count) + 2);
    loops::quantize_drawn(x + from, draws(from, count, buffer.data()), count, top, codes + from,
                          scales + g, zeros + g);
  });
}

QuantizedGroups empty_groups(const at::Tensor& value, int64_t bits, int64_t group) {
  QuantizedGroups out;
  out.shape = value.sizes().vec();
  out.group = group;
  out.bits = bits;
  const auto bytes = at::TensorOptions(value.device()).dtype(at::kByte);
  const int64_t groups = (value.numel() + group - 1) / group;
  out.codes = at::empty({value.numel()}, bytes);
  out.scales = at::empty({groups}, bytes.dtype(at::kFloat));
  out.zeros = at::empty({groups}, bytes);
  return out;
}

/// In torch's operations, for other devices.
void quantize_elsewhere(const at::Tensor& value, const at::Tensor& draws, QuantizedGroups& out) {
  const auto rows = in_groups(value.to(at::kFloat).reshape(-1), out.group);
  const double top = top_code(out.bits);
  const auto low = rows.amin(1, /*keepdim=*/true);
  const auto scale = (rows.amax(1, /*keepdim=*/true) - low).clamp_min(kLeastRange).div_(top);
  const auto zero = low.div(scale).round_().neg_().clamp_(0.0, top);
  auto codes = rows.div(scale);
  if (draws.defined()) {
    const auto down = codes.floor();
    codes = down.add(in_groups(draws.reshape(-1), out.group).lt(codes - down));
  } else {
    codes.round_();
  }
  out.codes.copy_(codes.add_(zero).clamp_(0.0, top).view(-1).narrow(0, 0, value.numel()));
  out.scales.copy_(scale.view(-1));
  out.zeros.copy_(zero.view(-1));
}

/// Draws of the numbers from place `from` on; `buffer` holds two more than `count`.
const float* draws_at(uint64_t key, int64_t from, int64_t count, float* buffer) {
  const int64_t pair = from / 2;
  loops::uniform_draws(key, pair, (from + count + 1) / 2 - pair, buffer);
  return buffer + from % 2;
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
  auto out = empty_groups(value, bits, group);
  if (value.numel() == 0) return out;
  if (value.is_cpu()) {
    const auto flat = draws.defined() ? draws.contiguous() : draws;
    const auto* drawn = flat.defined() ? flat.const_data_ptr<float>() : nullptr;
    quantize_on_cpu(value, out, flat.defined(),
                    [drawn](int64_t from, int64_t, float*) { return drawn + from; });
  } else {
    quantize_elsewhere(value, draws, out);
  }
  if (bits <= 4) out.codes = packed(out.codes);
  return out;
}

void requantize(const at::Tensor& value, uint64_t key, QuantizedGroups& groups) {
  TORCH_CHECK(groups.bits > 4 && value.sizes() == at::IntArrayRef(groups.shape),
              "codes of a byte are taken over in place, for numbers of the same shape: ",
              groups.bits, " bits, ", value.sizes(), " instead of ", at::IntArrayRef(groups.shape));
  const at::NoGradGuard no_grad;
  if (value.numel() == 0) return;
  if (value.is_cpu()) {
    quantize_on_cpu(value, groups, true, [key](int64_t from, int64_t count, float* buffer) {
      return draws_at(key, from, count, buffer);
    });
    return;
  }
  auto draws = at::empty({value.numel() + 1}, at::kFloat);
  draws_at(key, 0, value.numel(), draws.mutable_data_ptr<float>());
  quantize_elsewhere(value, draws.narrow(0, 0, value.numel()).to(value.device()), groups);
}

at::Tensor dequantize(const QuantizedGroups& groups, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  int64_t count = 1;
  for (const int64_t size : groups.shape) count *= size;
  if (count == 0) return at::zeros(groups.shape, at::TensorOptions().dtype(dtype));
  const auto codes = groups.bits <= 4 ? unpacked(groups.codes, count) : groups.codes;
  if (!codes.is_cpu()) {
    const auto value = in_groups(codes, groups.group)
                           .to(at::kFloat)
                           .sub_(groups.zeros.to(at::kFloat).unsqueeze(1))
                           .mul_(groups.scales.unsqueeze(1));
    return value.view(-1).narrow(0, 0, count).view(groups.shape).to(dtype);
  }
  auto value = at::empty(groups.shape, at::kFloat);
  auto* x = value.mutable_data_ptr<float>();
  const auto* code = codes.const_data_ptr<uint8_t>();
  const auto* scales = groups.scales.const_data_ptr<float>();
  const auto* zeros = groups.zeros.const_data_ptr<uint8_t>();
  for_each_group(count, groups.group, [&](int64_t g, int64_t from, int64_t numbers) {
    loops::dequantize(code + from, numbers, scales[g], zeros[g], x + from);
  });
  return value.to(dtype);
}

}  // namespace tunefleet::tuners

#include "worker/trainer/dynamic_8bit.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "worker/trainer/update_loops.h"

namespace tunefleet::trainer {
namespace {

constexpr int kExponents = 7;  ///< Decades, 10^-6 to 1.

/// The 256 values: in the decade of exponent e, 2^e fractions (2^(e+1) unsigned) in the middles of
/// equal parts of [0.1, 1]; then 0 and 1.
std::vector<float> dynamic_values(bool is_signed) {
  std::vector<double> values{0.0, 1.0};
  for (int e = 0; e < kExponents; ++e) {
    const int fractions = 1 << (is_signed ? e : e + 1);
    const double decade = std::pow(10.0, e - (kExponents - 1));
    for (int i = 0; i < fractions; ++i) {
      const double middle = 0.1 + 0.9 * (i + 0.5) / fractions;
      values.push_back(decade * middle);
      if (is_signed) values.push_back(-decade * middle);
    }
  }
  std::sort(values.begin(), values.end());
  return {values.begin(), values.end()};
}

at::Tensor tensor_of(const std::vector<float>& values) {
  auto out = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<float>());
  return out;
}

}  // namespace

/// The values, and where a number lies among the middles between two of them.
struct Dynamic8Bit::Tree {
  using Buckets = loops::Buckets;
  std::vector<float> values, boundaries;
  std::vector<int32_t> below;

  explicit Tree(bool is_signed) : values(dynamic_values(is_signed)) {
    for (size_t i = 0; i + 1 < values.size(); ++i)
      boundaries.push_back((values[i + 1] + values[i]) * 0.5F);
    boundaries.push_back(std::numeric_limits<float>::infinity());
    for (const float sign : {1.0F, -1.0F}) {
      for (int32_t bucket = Buckets::kFirst; bucket <= Buckets::kLast; ++bucket) {
        // The first bucket holds all that is smaller, the last 1 alone.
        const float from = bucket == Buckets::kFirst ? 0.0F : first_of(bucket);
        const float to = std::nextafter(first_of(bucket + 1), 0.0F);
        below.push_back(count_below(sign > 0.0F ? from : -to));
        const int32_t most = count_below(sign > 0.0F ? to : -from);
        TORCH_CHECK(most - below.back() <= 1, "more than one boundary in a bucket: ", most, " and ",
                    below.back());
      }
    }
  }

  static float first_of(int32_t bucket) {
    return std::bit_cast<float>(bucket << Buckets::kDropped);
  }
  int32_t count_below(float x) const {
    return static_cast<int32_t>(std::lower_bound(boundaries.begin(), boundaries.end(), x) -
                                boundaries.begin());
  }
  Buckets buckets() const { return {.below = below.data(), .boundaries = boundaries.data()}; }

  static const Tree& of(bool is_signed) {
    static const Tree with_sign(true), without(false);
    return is_signed ? with_sign : without;
  }
};

Dynamic8Bit::Dynamic8Bit(at::IntArrayRef shape, at::Device device, bool is_signed)
    : tree_(Tree::of(is_signed)), shape_(shape.vec()) {
  const auto& values = tree_.values;
  const auto zero = std::find(values.begin(), values.end(), 0.0F) - values.begin();
  values_ = tensor_of(values).to(device);
  boundaries_ = values_.slice(0, 1).add(values_.slice(0, 0, -1)).mul_(0.5);
  const int64_t count = c10::multiply_integers(shape);
  codes_ =
      at::full({count}, static_cast<int64_t>(zero), at::TensorOptions(device).dtype(at::kByte));
  largest_ = at::zeros({(count + kBlock - 1) / kBlock}, at::TensorOptions(device));
}

at::Tensor Dynamic8Bit::read() const {
  const at::NoGradGuard no_grad;
  const int64_t count = codes_.numel();
  auto numbers = values_.index_select(0, codes_.to(at::kInt));
  numbers = at::constant_pad_nd(numbers, {0, largest_.numel() * kBlock - count});
  numbers = numbers.view({-1, kBlock}).mul(largest_.unsqueeze(1));
  return numbers.view(-1).narrow(0, 0, count).view(shape_);
}

void Dynamic8Bit::write(const at::Tensor& value) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(value.sizes() == at::IntArrayRef(shape_),
              "an 8-bit state keeps its shape: ", value.sizes(), " instead of ",
              at::IntArrayRef(shape_));
  const int64_t count = codes_.numel();
  const auto flat = value.to(at::kFloat).reshape(-1);
  const auto blocks =
      at::constant_pad_nd(flat, {0, largest_.numel() * kBlock - count}).view({-1, kBlock});
  largest_.copy_(blocks.abs().amax(1));
  const auto parts = blocks.div(largest_.clamp_min(1e-38F).unsqueeze(1));
  codes_.copy_(at::bucketize(parts.view(-1).narrow(0, 0, count), boundaries_, /*out_int32=*/true));
}

void Dynamic8Bit::Blocks::read(int64_t b, int64_t count, float* numbers) const {
  loops::read_codes(codes + b * kBlock, count, tree->values.data(), largest[b], numbers);
}

void Dynamic8Bit::Blocks::write(int64_t b, int64_t count, const float* numbers) const {
  largest[b] = loops::largest(numbers, count);
  loops::write_codes(numbers, count, tree->buckets(), largest[b], codes + b * kBlock);
}

Dynamic8Bit::Blocks Dynamic8Bit::blocks() {
  return {.tree = &tree_,
          .codes = codes_.mutable_data_ptr<uint8_t>(),
          .largest = largest_.mutable_data_ptr<float>()};
}

void Dynamic8Bit::load(at::Tensor codes, at::Tensor largest) {
  TORCH_CHECK(codes.sizes() == codes_.sizes() && largest.sizes() == largest_.sizes(),
              "an 8-bit state of another shape: ", codes.sizes(), " instead of ", codes_.sizes());
  codes_ = std::move(codes);
  largest_ = std::move(largest);
}

}  // namespace tunefleet::trainer

#include "tuners/quantization/int8_weight.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "tuners/random.h"

namespace tunefleet::tuners {
namespace {

/// Uniform in [0, 1), float32: element i has 24 bits of the hash of (key, i / 2).
at::Tensor uniform_draws(at::IntArrayRef shape, uint64_t key) {
  auto draws = at::empty(shape, at::kFloat);
  auto* values = draws.mutable_data_ptr<float>();
  const int64_t count = draws.numel();
  for (int64_t i = 0; i < count; i += 2) {
    const uint64_t bits = mix(key, static_cast<uint64_t>(i / 2));
    values[i] = static_cast<float>(bits >> 40) * 0x1.0p-24F;
    if (i + 1 < count) values[i + 1] = static_cast<float>((bits >> 16) & 0xFFFFFF) * 0x1.0p-24F;
  }
  return draws;
}

at::Tensor make_stand_in(const at::Tensor& value) {
  const at::NoGradGuard no_grad;
  const auto one = at::zeros({1}, value.options().requires_grad(false));
  return one.expand(value.sizes()).set_requires_grad(true);
}

}  // namespace

Int8Weight::Int8Weight(const at::Tensor& value)
    : groups_(quantize_groups(value, 8, kGroup)),
      dtype_(value.scalar_type()),
      stand_in_(make_stand_in(value)) {}

void Int8Weight::write(const at::Tensor& value, uint64_t key) {
  TORCH_CHECK(value.sizes() == shape(), "an 8-bit weight keeps its shape: ", value.sizes(),
              " instead of ", shape());
  const auto draws = uniform_draws(value.sizes(), key).to(value.device());
  take(quantize_groups(value, groups_.bits, groups_.group, draws));
}

void Int8Weight::assign(const at::Tensor& value) {
  TORCH_CHECK(value.sizes() == shape(), "an 8-bit weight keeps its shape: ", value.sizes(),
              " instead of ", shape());
  take(quantize_groups(value, groups_.bits, groups_.group));
}

void Int8Weight::take(const QuantizedGroups& next) {
  const at::NoGradGuard no_grad;
  groups_.codes.copy_(next.codes);
  groups_.scales.copy_(next.scales);
  groups_.zeros.copy_(next.zeros);
}

std::vector<std::pair<std::string, at::Tensor>> Int8Weight::parts() const {
  return {{"codes", groups_.codes}, {"scales", groups_.scales}, {"zeros", groups_.zeros}};
}

}  // namespace tunefleet::tuners
